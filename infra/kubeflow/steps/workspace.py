"""Where things lie on the volume that all tasks of a run share. Pure.

``shards``
    Each client's data, the test data and the initial model, as ``fedtier split`` writes them.
``access``
    What clients and the results' task prove themselves with. For its owner alone; it goes when the aggregators go.
``clients``
    What each client keeps of its updates, so that a second try of its task sends the one that is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.datasets.shards import held_out_shard
from fedtier.fields import CLIENT_ID
from fedtier_cli.initial_model import FILE_NAME


@dataclass(frozen=True, slots=True)
class Workspace:
    """The shared volume of one run.

    Parameters
    ----------
    root : Path
        Where a task has it mounted.
    """

    root: Path

    @property
    def shards(self) -> Path:
        """Folder of the data and of the initial model."""
        return self.root / "shards"

    @property
    def test_shard(self) -> Path:
        """The data that models are tested on."""
        return held_out_shard(self.shards)

    @property
    def initial_model(self) -> Path:
        """What round 0 is."""
        return self.shards / FILE_NAME

    @property
    def access(self) -> Path:
        """Folder of tokens and credentials."""
        return self.root / "access"

    @property
    def authority(self) -> Path:
        """Certificate of the authority that the servers' certificates are of."""
        return self.access / "ca.pem"

    @property
    def finished(self) -> Path:
        """There once a client has seen the federation's end; it goes when the aggregators go."""
        return self.access / "finished"

    @property
    def s3_credentials(self) -> Path:
        """The identity file of the run's S3."""
        return self.access / "s3.json"

    def shard(self, client_id: str) -> Path:
        """Return where a client's data lie.

        Raises
        ------
        ValueError
            It is no client's id.
        """
        return self.shards / f"{_checked(client_id)}.safetensors"

    def client_token(self, client_id: str) -> Path:
        """Return where a client's token lies.

        Raises
        ------
        ValueError
            It is no client's id.
        """
        return self.access / "tokens" / f"{_checked(client_id)}.token"

    def state(self, client_id: str) -> Path:
        """Return the folder in which a client keeps its updates.

        Raises
        ------
        ValueError
            It is no client's id.
        """
        return self.root / "clients" / _checked(client_id)


def _checked(client_id: str) -> str:
    """Return a name of which a path may be made."""
    if not CLIENT_ID.fullmatch(client_id):
        raise ValueError(f"the client id {client_id[:140]!r} does not match {CLIENT_ID.pattern}")
    return client_id
