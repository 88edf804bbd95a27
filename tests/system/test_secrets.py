"""No token, key or presigned URL is seen by anyone it is not for: in a federation where much goes wrong beside them."""

from __future__ import annotations

import json
import socket
import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import pytest
import requests

from fedtier.tokens import generate_keys
from tests.builders import safetensors
from tests.client.loopback import Reply, Request, serve
from tests.system.evidence import Evidence, Secrets
from tests.system.federation import PATIENCE, Aggregator, Federation, Process, environment, fedtier
from tests.system.guards import Guard
from tests.system.lasting_s3 import LastingS3

pytestmark = pytest.mark.system

PASSWORD: Final = "c0rrect-h0rse-battery-staple"
MISPLACED: Final = "eyJhbGciOiJFZERTQSJ9.bWlzcGxhY2VkLXRva2Vu.VGhpcy1pcy1ub3QtYS1zaWduYXR1cmU"
TASK: Final = str(Path(__file__).parents[1] / "client" / "numpy_task.py") + ":ColumnMean"


@dataclass(frozen=True)
class Aftermath:
    """What is left of a federation, and what must not be in it."""

    evidence: Evidence
    secrets: Secrets
    known: Mapping[str, str]


class Scene:
    """A federation whose servers ask for tokens and whose master sends clients to S3, and what can befall it."""

    def __init__(self, folder: Path, s3: LastingS3) -> None:
        self.s3 = s3
        self.keys = Guard(folder / "keys", tls=False)
        self.evidence = Evidence()
        self.tokens = {
            f"token of client-{number}": self.keys.token("client", f"client-{number}") for number in range(6)
        }
        self.tokens["token of the operator"] = self.keys.token("operator", "operator")
        self.tokens["token of the worker"] = self.keys.token("worker", "worker")
        self.tokens["token of yesterday"] = self.keys.token("client", "client-0", lifetime=timedelta(days=-1))
        self.tokens["token of a stranger"] = Guard(folder / "strange-keys", tls=False).token("client", "client-0")
        self.private = generate_keys()[0].decode()
        self.folder = folder
        self.federation = Federation(folder, s3.server, "secrets/model.safetensors", guard=self.keys)

    @property
    def known(self) -> dict[str, str]:
        return {
            **self.tokens,
            "a signing key": self.private,
            "S3's secret key": self.s3.server.environment["AWS_SECRET_ACCESS_KEY"],
            "a password in an address": PASSWORD,
            "a token in the wrong place": MISPLACED,
        }

    def client(self, number: int, server: str, *flags: str, token: str | None = None) -> Process:
        """Start a client, with its own token unless told."""
        data = self.folder / f"column-{number}"
        data.write_text("1\n2\n")
        chosen = self.tokens[f"token of client-{number}"] if token is None else token
        return self.federation.client(
            f"client-{number}",
            *("--data", str(data), "--task", TASK, *flags),
            server=server,
            variables={"FEDTIER_TOKEN": chosen},
        )

    def watch(self, process: Process) -> int:
        """Look at a process until it ends, and return its status."""
        self.evidence.add_process(process.pid)
        status = process.wait()
        self.evidence.add(f"output of {process.name}", process.output.read())
        return status

    def command(self, *arguments: str, **variables: str) -> int:
        """Run a command to its end, and return its status."""
        done = subprocess.run(
            fedtier(*arguments),
            check=False,
            cwd=self.folder,
            env=environment(self.s3.server, variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
        )
        self.evidence.add(f"output of fedtier {' '.join(arguments)}", done.stdout + done.stderr)
        return done.returncode

    def ask(self, server: Aggregator, path: str, token: str, method: str = "GET") -> requests.Response:
        """Send a request, and keep the answer."""
        answer = requests.request(
            method,
            server.url + path,
            headers={"Authorization": f"Bearer {token}"},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        self.evidence.add_answer(answer)
        return answer

    def ask_raw(self, server: Aggregator, head: str) -> bytes:
        """Send what may be no request, and keep the answer."""
        with socket.create_connection((server.host, server.port), timeout=PATIENCE) as connection:
            connection.sendall(head.encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        self.evidence.add(f"answer to {head[:60]!r}", answer)
        return answer


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    with LastingS3(tmp_path_factory.mktemp("s3-beside")) as s3:
        scene = Scene(tmp_path_factory.mktemp("federation"), s3)
        with scene.federation as federation:
            model = scene.folder / "model.safetensors"
            model.write_bytes(safetensors({"mean": np.zeros(1, np.float32)}))
            flags = ("--model-delivery", "redirect", "--threshold", "2", "--rounds", "3")
            master = federation.master(model, *flags)
            worker = federation.worker("worker", upstream=master.url)
            a_round_goes_well(scene, master, worker)
            strangers_come(scene, (master, worker))
            addresses_hold_passwords(scene)
            the_master_dies_under_a_batch(scene, master, worker)
            s3_refuses_presigned_urls(scene, master)
            s3_is_away(scene, master)
            look_at_all(scene, (master, worker))
        yield Aftermath(scene.evidence, Secrets(scene.known), scene.known)


# What befalls it, one thing after the other.


def a_round_goes_well(scene: Scene, master: Aggregator, worker: Aggregator) -> None:
    redirect = scene.ask(master, "/v1/rounds/0/model", scene.tokens["token of client-0"])
    assert redirect.status_code == 307
    assert "X-Amz-Signature=" in redirect.headers["Location"]
    assert redirect.headers["Cache-Control"] == "no-store"
    clients = scene.client(0, worker.url, "--rounds", "1"), scene.client(1, master.url, "--rounds", "1")
    assert [scene.watch(client) for client in clients] == [0, 0]
    master.wait_for_round(2)
    for command in ("pause", "resume", "status"):
        assert scene.command(command, "--server", master.url, FEDTIER_TOKEN=scene.tokens["token of the operator"]) == 0


def strangers_come(scene: Scene, servers: tuple[Aggregator, ...]) -> None:
    """Ask with tokens that are not good, in places that are not right, in words that are no request."""
    for server in servers:
        for name in ("token of a stranger", "token of yesterday"):
            assert scene.ask(server, "/v1/round", scene.tokens[name]).status_code == 401
        assert (
            scene.ask(server, "/v1/rounds/2/updates/client-1", scene.tokens["token of client-0"], "PUT").status_code
            == 403
        )
        for head in misplaced(MISPLACED):
            answer = scene.ask_raw(server, head)
            assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), answer
    for token in (scene.tokens["token of a stranger"], f"{MISPLACED} {MISPLACED}", f"{MISPLACED}\nX-Other: 1"):
        assert scene.watch(scene.client(2, servers[-1].url, token=token)) != 0
        for command in ("status", "pause"):
            assert scene.command(command, "--server", servers[0].url, FEDTIER_TOKEN=token) != 0
    headless = "\n".join(scene.private.splitlines()[1:])
    assert scene.command("token", "--role", "client", "--subject", "a", FEDTIER_SIGNING_KEY=headless) != 0


def misplaced(secret: str) -> Iterator[str]:
    """Yield heads of requests that hold a secret where nobody looks for one."""
    ask, end = "GET /v1/round HTTP/1.1\r\nHost: test\r\nConnection: close\r\n", "\r\n\r\n"
    yield f"{ask}Authorization: Basic {secret}{end}"
    yield f"{ask}Authorization: {secret}{end}"
    yield f"{ask}Authorization: Bearer {secret}{end}"
    yield f"{ask}Authorization: Bearer {secret} {secret}{end}"
    yield f"{ask}Authorization : Bearer {secret}{end}"
    yield f"{ask}Authorization: Bearer {secret}\0{end}"
    yield f"{ask}Authorization: Bearer\r\n {secret}{end}"
    yield f"{ask}Bearer {secret}{end}"
    yield f"{ask}{secret}: Bearer{end}"
    yield f"{ask}Authorization: Bearer {secret}{'A' * 70_000}{end}"
    yield f"{ask}Transfer-Encoding: {secret}{end}"
    yield f"{ask}Expect: {secret}{end}"
    yield f"GET /v1/round?token={quote(secret)} HTTP/1.1\r\nHost: test\r\nConnection: close{end}"
    yield f"GET /v1/nothing?token={quote(secret)} HTTP/1.1\r\nHost: test\r\nConnection: close{end}"
    yield f"{secret} /v1/round HTTP/1.1\r\nHost: test{end}"
    yield f"GET /v1/round {secret}\r\nHost: test{end}"
    yield f"{secret}{end}"


def addresses_hold_passwords(scene: Scene) -> None:
    """Give addresses with passwords in them; what is refused is not repeated."""
    address = f"http://somebody:{PASSWORD}@{scene.federation.host}:9"
    shard = scene.folder / "column-0"
    own = ("--state-dir", str(scene.folder / "nobody-state"), "--port", "0")
    bucket = ("--bucket-name", scene.s3.server.bucket, "--bucket-key", "nothing/model.safetensors")
    client = ("--client-id", "client-0", "--data", str(shard), "--task", TASK)
    assert scene.command("worker", "--master", address, *own) != 0
    assert scene.command("client", "--server", address, *client, *own[:2]) != 0
    assert scene.command("status", "--server", address) != 0
    assert (
        scene.command("master", *bucket, *own, "--threshold", "1", "--web-model", f"{address}/model?key={PASSWORD}")
        != 0
    )
    assert scene.command("master", *bucket, *own, "--threshold", "1", AWS_ENDPOINT_URL_S3=address) != 0
    assert scene.command("rounds", *bucket, AWS_ENDPOINT_URL_S3=address) != 0


def the_master_dies_under_a_batch(scene: Scene, master: Aggregator, worker: Aggregator) -> None:
    """Let a worker lose its upstream while it has something for it, and try again and again."""
    lost = len(worker.events("the upstream is lost"))
    master.kill()
    first = scene.client(2, worker.url, "--rounds", "2")
    worker.process.wait_until(lambda: len(worker.events("the upstream is lost")) > lost, "the worker is on its own")
    scene.evidence.add_process(worker.process.pid)
    master.start()
    second = scene.client(3, worker.url, "--rounds", "2")
    assert [scene.watch(client) for client in (first, second)] == [0, 0]
    master.wait_for_round(3)


def s3_refuses_presigned_urls(scene: Scene, master: Aggregator) -> None:
    """Have a worker and a client follow presigned URLs that S3 refuses, as it does those that have expired."""
    with between(master, lambda url: url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3599")) as url:
        astray = scene.federation.worker("astray", upstream=url)
        told = "the model could not be fetched ahead"
        astray.process.wait_until(lambda: bool(astray.events(told)), "the model is refused to the worker")
        scene.ask(astray, "/v1/rounds/2/model", scene.tokens["token of client-4"])
        assert scene.watch(scene.client(4, url, "--retry-budget", "1")) != 0
        astray.process.end()


@contextmanager
def between(master: Aggregator, change: Callable[[str], str]) -> Iterator[str]:
    """Stand before a master, and change where it redirects to."""

    def answer(request: Request) -> Reply:
        headers = {name: value for name, value in request.headers.items() if name == "Authorization"}
        passed = requests.get(master.url + request.path, headers=headers, allow_redirects=False, timeout=PATIENCE)
        elsewhere = passed.headers.get("Location")
        redirect = {} if elsewhere is None else {"Location": change(elsewhere)}
        return Reply(passed.status_code, passed.content, redirect)

    with serve(answer) as url:
        yield url


def s3_is_away(scene: Scene, master: Aggregator) -> None:
    """Have a worker and a client follow presigned URLs at which nobody is any more."""
    scene.s3.stop()
    late = scene.federation.worker("late", upstream=master.url)
    told = "the model could not be fetched ahead"
    late.process.wait_until(lambda: bool(late.events(told)), "the model is out of reach of the worker")
    assert scene.watch(scene.client(5, master.url, "--retry-budget", "1")) != 0
    for server, path in (
        (late, "/v1/rounds/2/model"),
        (master, "/v1/rounds/1/manifest"),
        (master, "/v1/rounds/1/model"),
    ):
        scene.ask(server, path, scene.tokens["token of client-5"])
    late.process.end()
    scene.s3.start()


def look_at_all(scene: Scene, servers: tuple[Aggregator, ...]) -> None:
    """Look at everything that there is to be seen."""
    for server in servers:
        scene.evidence.add_process(server.process.pid)
        for path in ("/healthz", "/readyz", "/metrics", "/v1/round", "/v1/rounds/2/manifest", "/v1/openapi.json"):
            scene.ask(server, path, scene.tokens["token of the operator"])
    scene.evidence.add_folder(scene.folder)
    scene.evidence.add_bucket(scene.s3.server)


# What is seen of it.


@pytest.mark.parametrize("kind", ["answer", "command line", "file", "object", "output", "title"])
def test_no_secret_is_seen(kind: str, aftermath: Aftermath) -> None:
    assert any(where.startswith(kind) for where in aftermath.evidence.places)
    assert aftermath.evidence.found(aftermath.secrets, kind) == {}


def test_no_answer_names_the_version_of_a_program(aftermath: Aftermath) -> None:
    answers = [where for where in aftermath.evidence.places if where.startswith("answer")]
    assert answers
    for where in answers:
        seen = aftermath.evidence.text(where).lower()
        assert not [name for name in ("gunicorn/", "werkzeug", "python/", "flask") if name in seen], where


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("file client-4.log", "answered 403"),
        ("file client-5.log", "does not answer"),
        ("file astray.log", "answered 403"),
        ("file late.log", "does not answer"),
        ("file worker.log", "the upstream is lost"),
        ("file client-2.log", "FEDTIER_TOKEN"),
        ("answer 503 of /v1/rounds/2/model", "does not answer"),
        ("answer 403 of /v1/rounds/2/updates/client-1", "not for 'client-1'"),
    ],
)
def test_what_could_have_shown_one_did_happen(place: str, words: str, aftermath: Aftermath) -> None:
    assert words in aftermath.evidence.text(place)


@pytest.mark.parametrize(
    "expected",
    [
        *("file master-state/lock", "file master-state/tensorboard/", "file worker-state/", "file client-1-state"),
        *("file master.log", "object secrets/model/head.json", "object secrets/model.safetensors"),
        "object secrets/model/rounds/000001/manifest-",
    ],
)
def test_every_place_was_searched(expected: str, aftermath: Aftermath) -> None:
    assert [where for where in aftermath.evidence.places if where.startswith(expected)]


def test_a_planted_secret_is_found_in_every_form(aftermath: Aftermath) -> None:
    for name, secret in aftermath.known.items():
        for planted in planted_forms(secret):
            assert name in aftermath.secrets.found_in(b"before " + planted + b" after"), planted
    presigned = b"GET /bucket/model?x-amz-SIGNATURE=1 HTTP/1.1"
    assert aftermath.secrets.found_in(presigned) == {"a presigned URL"}
    assert aftermath.secrets.found_in(b"nothing of it; client-0 is counted") == set()


def planted_forms(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    yield json.dumps({"detail": secret}).encode()
    yield quote(secret).encode()
    yield repr(secret).encode()
    for before in ("", "a", "ab", "Bearer "):
        yield b64encode((before + secret + "end").encode())
        yield urlsafe_b64encode((before + secret + "end").encode())
    if secret.count(".") == 2:
        yield secret.rpartition(".")[2].encode()
        yield secret.split(".")[1].encode()
