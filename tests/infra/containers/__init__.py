"""Containers for tests: podman with images, storage and networks of its own, all of it gone when a test ends.

`stand_ins` makes the base images that no registry gives here, `build` makes the images of this checkout's Dockerfile on
them, and `Podman` runs containers of either. Nothing of the machine's network is changed, and containers reach each
other only.
"""
