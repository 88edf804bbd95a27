"""NVIDIA FLARE's FedAvg in its proof-of-concept deployment: a server and sites, each with a process per job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.programs import Programs
from benchmarks.peers.venvs import Venv
from benchmarks.peers.work import Work

_APPS = Path(__file__).parent / "apps"
_START_SECONDS = 300.0
_SERVER = "nvflare.private.fed.app.server.server_train"
_ADMIN = "admin@nvidia.com"


def start(work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
    """Start the deployment and its recipe's job; return the server's process, under which the job's own runs."""
    return _start(work, programs, [venv.python, str(_APPS / "nvflare_job.py")])


def start_tuned(work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
    """Do the same with connections over plain TCP, and a job that adds up tensors in place and saves no model."""
    file = Path(work.folder) / "project.yml"
    file.write_text(json.dumps(project(work.clients)))  # which is YAML, too
    return _start(work, programs, [venv.python, str(_APPS / "nvflare_tuned_job.py"), str(file)])


def project(clients: int) -> dict[str, object]:
    """Return a project file's content, whose sites speak to the server without TLS."""
    plain = {"org": "benchmark", "connection_security": "clear"}
    sites = [{"name": f"site-{number}", "type": "client", **plain} for number in range(1, clients + 1)]
    server = {"name": "server", "type": "server", "fed_learn_port": 8002, **plain}
    admin = {"name": _ADMIN, "type": "admin", "role": "project_admin", **plain}
    templates = {"template_file": ["master_template.yml", "aws_template.yml", "azure_template.yml"]}
    builders: list[dict[str, object]] = [
        {"path": "nvflare.lighter.impl.workspace.WorkspaceBuilder", "args": templates},
        {
            "path": "nvflare.lighter.impl.static_file.StaticFileBuilder",
            "args": {"config_folder": "config", "scheme": "tcp"},
        },
        {"path": "nvflare.lighter.impl.cert.CertBuilder"},
        {"path": "nvflare.lighter.impl.signature.SignatureBuilder"},
    ]
    return {
        "api_version": 3,
        "name": "benchmark",
        "description": "Trains nothing",
        "participants": [server, *sites, admin],
        "builders": builders,
    }


def _start(work: Work, programs: Programs, words: Sequence[str]) -> Sequence[int]:
    programs.start("job", words, NVFLARE_POC_WORKSPACE=str(Path(work.folder) / "poc"))
    programs.await_that(lambda: programs.running(_SERVER), "the server runs", _START_SECONDS)
    return programs.running(_SERVER)
