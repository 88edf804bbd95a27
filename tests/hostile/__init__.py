"""Files that are no safetensors, kept beside the tests of every reader that they may reach.

`make.py` says how each is made and what is wrong with it; ``python -m tests.hostile.make``
writes them again. A test compares them with what lies here.
"""
