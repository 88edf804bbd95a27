"""The images as they are shipped: what they say of themselves, what is in them, and what is not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

import pytest

from tests.infra.containers.conftest import Images
from tests.infra.containers.images import TARGETS, version
from tests.infra.hosts.root import cache_folder
from tests.infra.programs import CHECKOUT

_BUILDERS_PROGRAMS = "gcc g++ cc c++ clang ld as make cmake rustc cargo go git"
_LABELS = "org.opencontainers.image"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is_and_runs_as_nobody_in_particular(
    images: Images, target: str, record_property: Callable[[str, object], None]
) -> None:
    found = images.podman.inspect_image(images.built[target].name)
    record_property(f"{target} megabytes", round(found["Size"] / 1e6))
    record_property(f"{target} seconds to build, what was there is not built again", images.built[target].seconds)
    settings = found["Config"]

    assert settings["User"] == "10001:10001"
    assert settings["WorkingDir"] == "/var/lib/fedtier"
    entry = {"tensorboard": ["tensorboard"], "kubeflow": []}.get(target, ["fedtier"])
    assert (settings.get("Entrypoint") or []) == entry
    labels = settings["Labels"]
    assert labels[f"{_LABELS}.title"] == f"fedtier-{target}"
    assert (labels[f"{_LABELS}.version"], labels[f"{_LABELS}.licenses"]) == (version(), "Apache-2.0")
    assert labels[f"{_LABELS}.description"]


@pytest.mark.parametrize("target", ["server", "client"])
def test_an_image_has_the_release_of_this_checkout(images: Images, target: str) -> None:
    assert images.run(target, "--version") == f"fedtier, version {version()}"


@pytest.mark.parametrize("target", TARGETS)
def test_who_runs_owns_the_state_folder_and_nothing_else(images: Images, target: str) -> None:
    owned = images.run(target, "-c", "find / -xdev -user 10001 2>/dev/null; true", program="sh")

    assert images.run(target, "-u", program="id") == "10001"
    assert owned.splitlines() == ["/var/lib/fedtier"]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_in_an_image_builds_fetches_or_becomes_another_user(images: Images, target: str) -> None:
    look = f"""
        command -v {_BUILDERS_PROGRAMS}
        find / -xdev -type f -perm /6000
        find /root/.cache /home /source /requirements /wheel /tmp -mindepth 1
        ls -d /opt/fedtier/lib/python3*/site-packages/pip /opt/fedtier/bin/pip*
        find /opt/fedtier -name .git -o -name tests -type d -o -name '*.a' -o -name '*.pyi' -o -name '*.h' | head
    """
    found = images.run(target, "-c", f"({look}) 2>/dev/null; true", program="sh", options=("--user=0",))

    assert found == ""


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_tells_nothing_of_where_it_was_built(images: Images, target: str) -> None:
    history = images.podman.output("history", "--no-trunc", "--format={{.CreatedBy}}", images.built[target].name)
    places = (str(CHECKOUT), str(cache_folder()))
    found = images.run(
        target,
        *("-c", 'grep -rlF "$1" /opt /var /etc || true', "grep", "\n".join(places)),
        program="sh",
        options=("--user=0", "--cap-add=dac_override"),
    )

    assert found == ""
    assert not [place for place in places if place in history]


@pytest.mark.parametrize("target", TARGETS)
def test_all_packages_are_of_the_pinned_versions(images: Images, target: str) -> None:
    script = "import importlib.metadata as m; [print(f'{d.name}=={d.version}') for d in m.distributions()]"
    pinned = [*(CHECKOUT / "constraints.txt").read_text().splitlines(), *_builds_with(), f"fedtier=={version()}"]

    installed = images.run(target, "-c", script, program="python").splitlines()

    # Of torch, builds differ in what follows the version.
    assert {_canonical(line.partition("+")[0]) for line in installed} - {_canonical(line) for line in pinned} == set()
    assert len(installed) > 10


def test_a_server_has_no_torch_and_a_client_no_web_server(images: Images) -> None:
    script = "import importlib.util as u; print([n for n in ('torch', 'flask', 'boto3') if u.find_spec(n)])"

    assert images.run("server", "-c", script, program="python") == "['flask', 'boto3']"
    assert images.run("client", "-c", script, program="python") == "['torch']"
    assert images.run("kubeflow", "-c", script, program="python") == "['torch', 'boto3']"


@pytest.mark.parametrize("target", TARGETS)
def test_python_comes_compiled_since_it_cannot_be_kept_later(images: Images, target: str) -> None:
    script = (
        "import importlib, pathlib, sys; importlib.import_module(sys.argv[1]);"
        "print([f for m in list(sys.modules.values()) if (f := getattr(m, '__cached__', None))"
        " and not pathlib.Path(f).exists()])"
    )
    module = {
        "server": "master_aggregator.app",
        "client": "client.command",
        "tensorboard": "tensorboard.main",
        "kubeflow": "infra.kubeflow.components",
    }[target]

    assert images.run(target, "-c", script, module, program="python") == "[]"


def test_a_pipelines_image_adds_to_a_clients_and_changes_none_of_its_files(images: Images) -> None:
    layers = {
        target: images.podman.inspect_image(images.built[target].name)["RootFS"]["Layers"]
        for target in ("client", "kubeflow")
    }
    shared = len(layers["client"])

    # Whoever has the client's image already has torch.
    assert layers["kubeflow"][:shared] == layers["client"]


def _builds_with() -> list[str]:
    requires = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert isinstance(requires, list)
    return requires


def _canonical(pin: str) -> str:
    name, _, number = pin.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={number}"
