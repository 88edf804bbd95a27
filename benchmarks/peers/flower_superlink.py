"""Flower's SuperLink with SuperNodes: a ServerApp and ClientApps, submitted with `flwr run`.

As its documentation has it for one machine: insecure, and every app in a process that SuperLink or a SuperNode starts.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.programs import Programs, listens
from benchmarks.peers.venvs import Venv
from benchmarks.peers.work import Work
from fedtier_cli.seaweed import free_ports

_APPS = Path(__file__).parent / "apps"
_START_SECONDS = 300.0
_CONNECTION = """\
[superlink]
default = "benchmark"

[superlink.benchmark]
address = "127.0.0.1:{port}"
insecure = true
"""
_APP = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "benchmark"
version = "1.0.0"
description = "Trains nothing"
license = "Apache-2.0"
dependencies = ["flwr[simulation]>=1.42.0"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "fedtier"

[tool.flwr.app.components]
serverapp = "{server}:app"
clientapp = "superlink_client:app"

[tool.flwr.app.config]
"""
_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
_TUNED = {
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
    "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE": str(32 << 20),
    "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES": "4",
    "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PULLS": "4",
}


def start(work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
    """Start SuperLink and SuperNodes with default settings, and submit the app; return SuperLink's process."""
    return _start(work, venv, programs, "superlink_server", _ENVIRONMENT)


def start_tuned(work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
    """Do the same with larger pieces, more at once, shorter pauses, and a ServerApp that adds up what it pulls.

    What a round takes is mostly processes that start, one per message, so this needs less memory, and no less time.
    """
    return _start(work, venv, programs, "superlink_tuned_server", {**_ENVIRONMENT, **_TUNED})


def _start(work: Work, venv: Venv, programs: Programs, server: str, environment: Mapping[str, str]) -> Sequence[int]:
    home = Path(work.folder) / "flwr"
    app = Path(work.folder) / "app"
    port, *runtime_ports = free_ports(1 + work.clients)
    home.mkdir()
    (home / "config.toml").write_text(_CONNECTION.format(port=port))
    app.mkdir()
    (app / "pyproject.toml").write_text(_APP.format(server=server))
    for module in (server, "superlink_client"):
        shutil.copy(_APPS / f"{module}.py", app)
    environment = {**environment, "FLWR_HOME": str(home)}
    words = [venv.program("flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(port)]
    link = programs.start("superlink", words, **environment)
    programs.await_that(lambda: listens(port), "SuperLink listens", _START_SECONDS)
    for client, runtime_port in enumerate(runtime_ports):
        words = [venv.program("flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{port}"]
        words += ["--host", "127.0.0.1", "--port", str(runtime_port), "--node-config", f"client={client}"]
        programs.start(f"supernode-{client}", words, **environment)
    programs.start("run", [venv.program("flwr"), "run", str(app), "benchmark"], **environment)
    programs.await_end("run", _START_SECONDS)
    return [link]
