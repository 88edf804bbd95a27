"""Where a federation lies in S3."""

from __future__ import annotations


class RoundKeys:
    """The S3 keys of a federation.

    Parameters
    ----------
    bucket_key : str
        Key of the copy of the newest model, ``jobs/mnist.safetensors``; without its
        extension it is the prefix of everything else.

    Raises
    ------
    ValueError
        The key has no extension or an empty part.
    """

    def __init__(self, bucket_key: str) -> None:
        prefix, dot, extension = bucket_key.rpartition(".")
        parts = bucket_key.split("/")
        if (
            not (prefix and dot and extension)
            or "/" in extension
            or prefix.endswith("/")
            or {"", ".", ".."} & {*parts, *prefix.split("/")}
        ):
            raise ValueError(
                f"the bucket key {bucket_key!r} is not of the form path/name.safetensors; "
                "its path without the extension becomes the prefix of all rounds"
            )
        self.copy = bucket_key
        self.prefix = prefix
        self.head = f"{prefix}/head.json"

    def model(self, round_number: int, sha256: str) -> str:
        """Return the key of a round's model."""
        return f"{self.prefix}/rounds/{round_number:06d}/model-{sha256}.safetensors"

    def manifest(self, round_number: int, sha256: str) -> str:
        """Return the key of a round's manifest."""
        return f"{self.prefix}/rounds/{round_number:06d}/manifest-{sha256}.json"

    def evaluation(self, round_number: int, model_sha256: str) -> str:
        """Return the key of what a round's model did on test data."""
        return f"{self.prefix}/rounds/{round_number:06d}/evaluation-{model_sha256}.json"
