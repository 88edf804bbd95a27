from __future__ import annotations

import os
import signal
import stat
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from fedtier.bucket import Bucket, connect
from fedtier.problems import StartupError
from fedtier_cli.seaweed import Seaweed, free_ports
from fedtier_cli.seaweed_credentials import Credentials

pytestmark = pytest.mark.system


def server_in(directory: Path, *, credentials: Credentials | None = None) -> Seaweed:
    return Seaweed(directory / "data", bucket="models", log=directory / "s3.log", credentials=credentials)


def bucket_of(server: Seaweed) -> Bucket:
    pair = server.credentials
    return Bucket(
        server.bucket,
        client=connect(endpoint=server.endpoint, access_key=pair.access_key, secret_key=pair.secret_key, region="any"),
    )


def ends(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def sockets_of(server: Seaweed) -> list[Path]:
    return [path for port in server.ports.values() for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]


def listening_addresses(pid: int) -> set[str]:
    """Return the IPv4 and IPv6 addresses, as the kernel prints them, on which a process accepts connections."""
    inodes = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    rows = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def test_data_and_credentials_are_there_after_a_restart(tmp_path: Path) -> None:
    with server_in(tmp_path) as server:
        first = server.credentials
        bucket_of(server).put("small", b"content", expected=None)
        bucket_of(server).put("large", bytes(9 << 20), expected=None)
    with server_in(tmp_path) as server:
        assert server.credentials == first
        small, large = bucket_of(server).get("small"), bucket_of(server).get("large")
        assert small is not None
        assert small.data == b"content"
        assert large is not None
        assert large.data == bytes(9 << 20)


def test_data_survives_a_kill(tmp_path: Path) -> None:
    with server_in(tmp_path) as server:
        bucket_of(server).put("small", b"content", expected=None)
        os.kill(server.pid, signal.SIGKILL)
    with server_in(tmp_path) as server:
        small = bucket_of(server).get("small")
        assert small is not None
        assert small.data == b"content"


def test_saved_credentials_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "s3-identities.json").write_text("{}")
    with pytest.raises(StartupError, match=r"s3-identities.json cannot be read; delete the file"), server_in(tmp_path):
        pass


def test_given_credentials_take_the_place_of_saved_ones(tmp_path: Path) -> None:
    with server_in(tmp_path):
        pass
    given = Credentials("THEKEY", "the-secret-of-it")
    with server_in(tmp_path, credentials=given) as server:
        assert server.environment()["AWS_SECRET_ACCESS_KEY"] == "the-secret-of-it"
        assert bucket_of(server).get("none") is None


def test_nobody_else_reads_the_data(tmp_path: Path) -> None:
    with server_in(tmp_path) as server:
        bucket_of(server).put("small", b"content", expected=None)
        assert requests.get(f"{server.endpoint}/models/small", timeout=10).status_code == 403
        assert requests.put(f"{server.endpoint}/models/small", data=b"x", timeout=10).status_code == 403
        filer = f"http://{urlsplit(server.endpoint).hostname}:{server.ports['filer.port']}"
        assert requests.get(f"{filer}/buckets/models/small", timeout=10).status_code == 401
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "data" / "s3-identities.json").stat().st_mode) == 0o600


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs the /proc of Linux")
def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with server_in(tmp_path) as server:
        assert listening_addresses(server.pid) == {"0100007F"}


def test_several_run_side_by_side(tmp_path: Path) -> None:
    with ExitStack() as running:
        servers = []
        for name in "abcd":
            (tmp_path / name).mkdir()
            servers.append(running.enter_context(server_in(tmp_path / name)))
        for server in servers:
            bucket_of(server).put("whose", server.endpoint.encode(), expected=None)
        for server in servers:
            stored = bucket_of(server).get("whose")
            assert stored is not None
            assert stored.data == server.endpoint.encode()


def test_it_ends_with_its_block_and_leaves_no_socket_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), server_in(tmp_path) as server:
        raise KeyboardInterrupt
    assert ends(server.pid)
    assert sockets_of(server) == []


def test_it_leaves_no_socket_behind_when_it_was_killed(tmp_path: Path) -> None:
    with server_in(tmp_path) as server:
        assert sockets_of(server) != []
        os.kill(server.pid, signal.SIGKILL)
    assert sockets_of(server) == []


def test_it_does_not_hear_the_terminals_interrupt(tmp_path: Path) -> None:
    with server_in(tmp_path) as server:
        assert os.getsid(server.pid) != os.getsid(0)


def test_a_directory_in_use_is_refused_with_the_process_that_uses_it(tmp_path: Path) -> None:
    with (
        server_in(tmp_path) as server,
        pytest.raises(StartupError, match=rf"data is in use .* process {server.pid}; end it"),
        server_in(tmp_path),
    ):
        pass


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "filerldb2").write_text("in the way")
    told = r"ended with status [0-9]+; its log .*s3.log ends with:\n(.|\n)*filerldb2"
    with pytest.raises(StartupError, match=told), server_in(tmp_path):
        pass


def test_a_server_that_is_too_slow_is_ended(tmp_path: Path) -> None:
    server = Seaweed(tmp_path / "data", bucket="models", log=tmp_path / "s3.log", start_seconds=0)
    with pytest.raises(StartupError, match=r"does not answer within 0 s"), server:
        pass
    assert ends(server.pid)


def test_a_port_taken_meanwhile_is_no_failure(tmp_path: Path) -> None:
    with server_in(tmp_path) as other:
        (tmp_path / "second").mkdir()
        offers = [list(other.ports.values())]
        with Seaweed(
            tmp_path / "second" / "data",
            bucket="models",
            log=tmp_path / "second" / "s3.log",
            choose_ports=lambda count: offers.pop() if offers else free_ports(count),
        ) as second:
            assert offers == []
            assert bucket_of(second).get("none") is None
        assert bucket_of(other).put("still", b"writable", expected=None)


def test_a_bucket_name_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"'Models' is not one that S3 allows"):
        Seaweed(tmp_path, bucket="Models", log=tmp_path / "s3.log")


def test_a_directory_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartupError, match=r"cannot use .*data"), server_in(tmp_path):
        pass
