"""Starts the deployment that a project file describes, server and sites as processes, and submits the job to it.

``nvflare_tuned_job.py PROJECT_FILE``
"""

from __future__ import annotations

import sys
from pathlib import Path

from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.client.config import ExchangeFormat
from nvflare.fuel.utils.constants import FrameworkType
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import ScriptRunner
from nvflare.recipe import PocEnv

from benchmarks.peers.apps.nvflare_tuned_parts import Opening, Summing
from benchmarks.peers.work import saved_work

_LOGIN_SECONDS = 60.0
_PAUSE_SECONDS = 0.1


def main() -> None:
    """Run the job to its end."""
    work = saved_work()
    job = FedJob(name="benchmark", min_clients=work.clients)
    job.to_server(Opening(), id="persistor")
    job.to_server(
        FedAvg(
            num_clients=work.clients,
            num_rounds=work.turns,
            persistor_id="persistor",
            aggregator=Summing(),
            task_check_period=_PAUSE_SECONDS,
            memory_gc_rounds=1,
        )
    )
    job.to_server({"server": {"task_request_interval": _PAUSE_SECONDS}})
    job.to_clients(
        ScriptRunner(
            script=str(Path(__file__).with_name("nvflare_tuned_client.py")),
            framework=FrameworkType.NUMPY,
            server_expected_format=ExchangeFormat.NUMPY,
        )
    )
    job.to_clients({"default_task_fetch_interval": _PAUSE_SECONDS})
    environment = PocEnv(
        num_clients=work.clients, project_conf_path=sys.argv[1], extra={"login_timeout": _LOGIN_SECONDS}
    )
    environment.get_job_result(environment.deploy(job))


if __name__ == "__main__":
    main()
