"""What a run's members prove themselves with: made for this run alone, and given to those who need it.

Keys that sign are in the folder that `make_credentials` fills, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedtier_cli.credentials import read_s3_credentials
from fedtier_cli.key_files import write_secret
from fedtier_cli.seaweed import REGION
from infra.kubeflow.steps.objects import PORTS, WORKER, RunSettings, server_names
from infra.kubeflow.steps.programs import run_fedtier
from infra.kubeflow.steps.workspace import Workspace


def make_credentials(settings: RunSettings, folder: Path) -> None:
    """Make keys, an authority, certificates and tokens; the run's name is their federation's.

    Parameters
    ----------
    settings : RunSettings
    folder : Path
        Made, for its owner alone.

    Raises
    ------
    ProgramFailed
    """
    words = ["credentials", str(folder), "--federation", settings.run, "--worker", WORKER]
    for component in PORTS:
        words += ["--server", f"{component}={','.join(server_names(component, settings))}"]
    for client_id in settings.client_ids:
        words += ["--client", client_id]
    run_fedtier(*words, variables={})


def hand_out(made: Path, workspace: Workspace, client_ids: Sequence[str]) -> None:
    """Write what later tasks need into the workspace: nothing that signs, and no server's key.

    Parameters
    ----------
    made : Path
        From `make_credentials`.
    workspace : Workspace
    client_ids : sequence of str

    Raises
    ------
    fedtier.problems.StartupError
        The workspace cannot be written.
    """
    tokens = {workspace.client_token(client_id): f"client-{client_id}.token" for client_id in client_ids}
    wanted: Mapping[Path, Path] = {
        workspace.authority: made / "authority" / "ca.pem",
        workspace.s3_credentials: made / "s3.json",
        **{path: made / "tokens" / name for path, name in tokens.items()},
    }
    for folder in dict.fromkeys(path.parent for path in wanted):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, source in wanted.items():
        write_secret(path, source.read_text())


def s3_variables(workspace: Workspace, address: str) -> dict[str, str]:
    """Return the variables by which AWS' libraries find a run's S3.

    Parameters
    ----------
    workspace : Workspace
        After `hand_out`.
    address : str
        Of S3.

    Raises
    ------
    fedtier.problems.StartupError
        There are no credentials.
    """
    pair = read_s3_credentials(workspace.s3_credentials)
    return {
        "AWS_ENDPOINT_URL_S3": address,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": pair.access_key,
        "AWS_SECRET_ACCESS_KEY": pair.secret_key,
        "AWS_CA_BUNDLE": str(workspace.authority),
    }
