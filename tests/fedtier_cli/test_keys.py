from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedtier.problems import Unauthenticated
from fedtier.tokens import Bearer, TokenVerifier
from fedtier_cli.main import main


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner(env={"FEDTIER_SIGNING_KEY": None, **variables}).invoke(main, arguments)


def facts(done: Result) -> dict[str, str]:
    assert done.exit_code == 0, done.output
    document: dict[str, str] = json.loads(done.output)
    return document


def test_a_token_of_the_made_keys_verifies(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path / "keys"), "--json"))
    done = run("token", "--role", "client", "--subject", "client-3", FEDTIER_SIGNING_KEY=keys["signing_key"])
    verifier = TokenVerifier([Path(keys["verify_key"]).read_bytes()])
    assert verifier.verify(done.output.strip()) == Bearer("client", "client-3")


def test_the_signing_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path / "keys"), "--json"))
    assert stat.S_IMODE(Path(keys["signing_key"]).stat().st_mode) == 0o600
    assert "PRIVATE" not in Path(keys["verify_key"]).read_text()


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path), "--json"))
    before = Path(keys["signing_key"]).read_bytes()
    done = run("keygen", str(tmp_path))
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "keys are not overwritten" in done.output
    assert Path(keys["signing_key"]).read_bytes() == before


def test_a_token_expires_after_its_days(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path), "--json"))
    flags = ["token", "--role", "operator", "--subject", "me", "--json"]
    short = facts(run(*flags, "--days", "0.5", FEDTIER_SIGNING_KEY=keys["signing_key"]))
    left = datetime.fromisoformat(short["expires"]) - datetime.now(UTC)
    assert timedelta(hours=11) < left <= timedelta(hours=12)
    assert (short["role"], short["subject"]) == ("operator", "me")


def test_a_key_may_be_given_as_text(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path), "--json"))
    pem = Path(keys["signing_key"]).read_text()
    assert run("token", "--role", "worker", "--subject", "w", FEDTIER_SIGNING_KEY=pem).exit_code == 0


def test_a_token_is_written_for_its_bearer_alone_and_replaced_when_it_is_renewed(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path / "keys"), "--json"))
    path = tmp_path / "client-3.token"
    path.write_text("old")
    flags = ["token", "--role", "client", "--subject", "client-3", "--out", str(path)]
    done = run(*flags, FEDTIER_SIGNING_KEY=keys["signing_key"])
    assert done.exit_code == 0
    assert done.output.startswith(f"{path}  token of the client client-3 until ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [child.name for child in tmp_path.iterdir() if child.is_file()] == [path.name]
    signed = path.read_text().strip()
    assert TokenVerifier([Path(keys["verify_key"]).read_bytes()]).verify(signed) == Bearer("client", "client-3")
    told = facts(run(*flags, "--json", FEDTIER_SIGNING_KEY=keys["signing_key"]))
    assert told["path"] == str(path)
    assert path.read_text().strip() not in done.output + str(told)


def test_a_token_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path / "keys"), "--json"))
    out = tmp_path / "nowhere" / "token"
    done = run(
        "token", "--role", "client", "--subject", "a", "--out", str(out), FEDTIER_SIGNING_KEY=keys["signing_key"]
    )
    assert (done.exit_code, done.output) == (1, f"Error: {out} cannot be written: No such file or directory\n")


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_a_token_is_for_the_federation_that_is_named(tmp_path: Path, way: str) -> None:
    keys = facts(run("keygen", str(tmp_path), "--json"))
    flags = ["token", "--role", "client", "--subject", "a", "--json"]
    variables = {"FEDTIER_SIGNING_KEY": keys["signing_key"]}
    if way == "flag":
        made = facts(run(*flags, "--audience", "hospitals", **variables))
    else:
        made = facts(run(*flags, FEDTIER_AUDIENCE="hospitals", **variables))
    assert made["audience"] == "hospitals"
    public = Path(keys["verify_key"]).read_bytes()
    assert TokenVerifier([public], audience="hospitals").verify(made["token"]) == Bearer("client", "a")
    with pytest.raises(Unauthenticated, match="for another federation"):
        TokenVerifier([public]).verify(made["token"])


def test_another_key_does_not_verify(tmp_path: Path) -> None:
    mine, other = (facts(run("keygen", str(tmp_path / name), "--json")) for name in ("mine", "other"))
    done = run("token", "--role", "worker", "--subject", "w", FEDTIER_SIGNING_KEY=other["signing_key"])
    with pytest.raises(Unauthenticated):
        TokenVerifier([Path(mine["verify_key"]).read_bytes()]).verify(done.output.strip())


@pytest.mark.parametrize(
    ("flags", "words", "status"),
    [
        (["--role", "client", "--subject", "a"], "FEDTIER_SIGNING_KEY is not set", 1),
        (["--role", "client", "--subject", "a/b"], "--subject 'a/b' does not match", 1),
        (["--role", "king", "--subject", "a"], "'king'", 2),
        (["--role", "client", "--subject", "a", "--days", "0"], "--days", 2),
        (["--role", "client", "--subject", "a", "--days", "nan"], "--days", 2),
        (["--role", "client", "--subject", "a", "--days", "99999"], "--days", 2),
        (["--role", "client", "--subject", "a", "--audience", "a b"], "--audience", 2),
        (["--role", "client"], "--subject", 2),
    ],
)
def test_a_token_that_cannot_be_made_says_why(tmp_path: Path, flags: list[str], words: str, status: int) -> None:
    keys = facts(run("keygen", str(tmp_path), "--json"))
    key = {} if "not set" in words else {"FEDTIER_SIGNING_KEY": keys["signing_key"]}
    done = run("token", *flags, **key)
    assert done.exit_code == status
    assert words in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("what", ["verify_key", "missing"])
def test_what_is_no_signing_key_is_refused(tmp_path: Path, what: str) -> None:
    keys = facts(run("keygen", str(tmp_path), "--json")) | {"missing": "/nowhere/key.pem"}
    done = run("token", "--role", "client", "--subject", "a", FEDTIER_SIGNING_KEY=keys[what])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("keygen", str(tmp_path / "file" / "keys"))
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert str(tmp_path / "file" / "keys") in done.output


def test_days_can_come_from_the_environment(tmp_path: Path) -> None:
    keys = facts(run("keygen", str(tmp_path), "--json"))
    variables = {
        "FEDTIER_SIGNING_KEY": keys["signing_key"],
        "FEDTIER_ROLE": "client",
        "FEDTIER_SUBJECT": "client-1",
        "FEDTIER_DAYS": "1",
        "FEDTIER_JSON": "1",
    }
    made = facts(run("token", **variables))
    assert (made["role"], made["subject"]) == ("client", "client-1")
