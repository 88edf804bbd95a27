"""NVIDIA FLARE's FedAvg recipe in its proof-of-concept deployment: a server and sites, each with a process per job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.programs import Programs
from benchmarks.peers.venvs import Venv
from benchmarks.peers.work import Work

_APPS = Path(__file__).parent / "apps"
_START_SECONDS = 300.0
_SERVER = "nvflare.private.fed.app.server.server_train"


def start(work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
    """Start the deployment and its job; return the server's process, under which the job's own runs."""
    workspace = str(Path(work.folder) / "poc")
    programs.start("job", [venv.python, str(_APPS / "nvflare_job.py")], NVFLARE_POC_WORKSPACE=workspace)
    programs.await_that(lambda: programs.running(_SERVER), "the server runs", _START_SECONDS)
    return programs.running(_SERVER)
