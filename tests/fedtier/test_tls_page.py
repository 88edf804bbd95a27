"""What docs/tls.md has people type makes files that the programs take."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedtier.tls import Tls, server_context
from fedtier.upstream import Upstream
from tests.client.loopback import Reply, serve

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the page's commands were run."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=folder, check=True, capture_output=True)
    return folder


def member(made: Path, name: str) -> Tls:
    return Tls(made / f"{name}.pem", made / f"{name}-key.pem", made / "ca.pem")


@pytest.mark.parametrize("name", ["master-1", "worker-1", "client-3"])
def test_every_member_has_a_certificate_that_is_good_by_the_strictest_rules(made: Path, name: str) -> None:
    tls = member(made, name)
    tls.check(datetime.now(UTC))
    subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", str(tls.ca_certs), str(tls.certfile)],
        check=True,
        capture_output=True,
    )


def test_members_believe_each_other(made: Path) -> None:
    context = server_context(member(made, "worker-1"), client_certs=True)
    assert context is not None
    context.verify_mode = ssl.CERT_REQUIRED
    with (
        serve(lambda _: Reply(200, b"{}"), tls=context) as url,
        Upstream(url, tls=member(made, "client-3")) as upstream,
    ):
        assert upstream.unready() is None
