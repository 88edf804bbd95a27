"""`compose.yaml`: how it is read, and a federation that podman-compose brings up by it in a podman of its own."""
