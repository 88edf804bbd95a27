"""Stands for kubectl where pods are processes of this machine: `exec` runs the program here, as in the pod.

POD_ENVIRONMENTS has each pod's variables as JSON, and POD_WORDS what stands for some words, such as names of Services.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    words = sys.argv[1:]
    if "exec" not in words:
        print(os.environ["POD_COMPLETIONS"], end="")
        return
    pod = next(word for word in words[words.index("exec") + 1 :] if not word.startswith("--"))
    instead = json.loads(os.environ["POD_WORDS"])
    program = [instead.get(word, word) for word in words[words.index("--") + 1 :]]
    os.execvpe(program[0], program, os.environ | json.loads(os.environ["POD_ENVIRONMENTS"])[pod])


if __name__ == "__main__":
    main()
