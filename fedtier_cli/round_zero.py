"""Makes an initial model round 0 of a federation, in S3. Needs boto3, of the server extra."""

from __future__ import annotations

from pathlib import Path

from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.problems import StartupError
from fedtier.rounds import Head
from fedtier.store import RoundStore


def publish_initial_model(store: RoundStore, model: Path) -> Head:
    """Make sure that a model is round 0, and return the head as it is then.

    Raises
    ------
    StartupError
        Round 0 is another model, or S3 cannot be used.
    """
    try:
        return store.publish_initial(model).head
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None


class RoundZero:
    """Where an initial model is to be published.

    Parameters
    ----------
    bucket, bucket_key : str
        As for `RoundStore`.

    Raises
    ------
    StartupError
        S3 cannot be used.
    """

    def __init__(self, bucket: str, bucket_key: str) -> None:
        self._store = RoundStore(bucket, bucket_key)
        self._store.check()
        self.place = f"s3://{bucket}/{self._store.keys.prefix}"

    def publish(self, model: Path) -> Head:
        """Publish a model; see `publish_initial_model`."""
        return publish_initial_model(self._store, model)
