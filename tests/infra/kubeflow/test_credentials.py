"""Everybody in a run gets what proves who they are, for this run alone, and nobody gets what signs."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from cryptography import x509

from fedtier.problems import StartupError, Unauthenticated
from fedtier.tokens import Bearer, TokenVerifier
from infra.kubeflow.steps.credentials import hand_out, make_credentials, s3_variables
from infra.kubeflow.steps.objects import PORTS, server_names
from infra.kubeflow.steps.server_secrets import secret_files, secrets
from infra.kubeflow.steps.workspace import Workspace
from tests.infra.kubeflow.runs import RUN, settings

_SIGNS = ("keys/signing-key.pem", "authority/ca-key.pem")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is made for a run."""
    folder = tmp_path_factory.mktemp("task") / "credentials"
    make_credentials(settings(), folder)
    return folder


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Workspace:
    """The workspace of that run."""
    found = Workspace(tmp_path)
    hand_out(made, found, settings().client_ids)
    return found


def files_of(workspace: Workspace) -> list[Path]:
    return sorted(path for path in workspace.root.rglob("*") if path.is_file())


def test_every_client_gets_its_token_and_all_get_the_authority(workspace: Workspace) -> None:
    assert files_of(workspace) == sorted(
        [
            workspace.authority,
            workspace.s3_credentials,
            workspace.client_token("client-0"),
            workspace.client_token("client-1"),
        ]
    )


def test_what_is_handed_out_is_for_its_owner_alone(workspace: Workspace) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in files_of(workspace)} == {0o600}
    folders = {workspace.access, *(path.parent for path in files_of(workspace))}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_nothing_that_signs_leaves_the_task(made: Path, workspace: Workspace) -> None:
    given = [path.read_bytes() for path in files_of(workspace)]
    in_cluster = [
        base64.b64decode(value)
        for secret in secrets(settings(), {name: (made / name).read_bytes() for name in secret_files()})
        for value in secret["data"].values()
    ]
    for name in _SIGNS:
        assert not [one for one in (*given, *in_cluster) if (made / name).read_bytes().strip() in one], name


def test_no_task_gets_a_key_of_a_server(made: Path, workspace: Workspace) -> None:
    given = [path.read_text() for path in files_of(workspace)]
    assert not [text for text in given if "PRIVATE KEY" in text]
    assert (made / "servers" / "s3-key.pem").exists()


def test_a_token_is_good_for_its_client_in_its_run(made: Path, workspace: Workspace) -> None:
    key = (made / "keys" / "verify-key.pem").read_bytes()
    token = workspace.client_token("client-1").read_text().strip()
    assert TokenVerifier([key], audience=RUN).verify(token) == Bearer("client", "client-1")
    with pytest.raises(Unauthenticated):
        TokenVerifier([key], audience="fedtier-000000000000").verify(token)


def test_certificates_have_the_names_of_the_services(made: Path) -> None:
    for component in PORTS:
        certificate = x509.load_pem_x509_certificate((made / "servers" / f"{component}.pem").read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(server_names(component, settings())) <= set(names.get_values_for_type(x509.DNSName))


def test_s3_is_found_by_the_variables_of_aws(made: Path, workspace: Workspace) -> None:
    files = {name: (made / name).read_bytes() for name in secret_files()}
    (secret,) = (one for one in secrets(settings(), files) if one["metadata"]["name"] == f"{RUN}-s3-credentials")
    of_master = base64.b64decode(secret["data"]["credentials"]).decode()
    found = s3_variables(workspace, "https://s3.here:8333")
    assert f"aws_access_key_id = {found['AWS_ACCESS_KEY_ID']}\n" in of_master
    assert f"aws_secret_access_key = {found['AWS_SECRET_ACCESS_KEY']}\n" in of_master
    assert found["AWS_ENDPOINT_URL_S3"] == "https://s3.here:8333"
    assert found["AWS_CA_BUNDLE"] == str(workspace.authority)


def test_without_credentials_s3_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="S3's credentials"):
        s3_variables(Workspace(tmp_path), "https://s3.here:8333")


def test_handing_out_again_replaces_what_is_there(made: Path, workspace: Workspace) -> None:
    token = workspace.client_token("client-0")
    token.write_text("an old one")
    hand_out(made, workspace, settings().client_ids)
    assert token.read_text() == (made / "tokens" / "client-client-0.token").read_text()
