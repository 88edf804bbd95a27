"""Makes the bucket of compose.yaml in its S3, which has none at first, and waits for S3 to be up."""

from __future__ import annotations

import contextlib
import os

from fedtier.bucket import connect

ATTEMPTS = 12
"""With the pauses between them, some minutes."""


def main() -> None:
    """Make the bucket unless it is there."""
    client = connect(attempts=ATTEMPTS)
    with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=os.environ["FEDTIER_BUCKET_NAME"])


if __name__ == "__main__":
    main()
