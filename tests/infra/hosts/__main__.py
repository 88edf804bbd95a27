"""Start hosts by hand and keep them until Ctrl-C: ``python -m tests.infra.hosts --help``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from tests.infra.hosts import Hosts, why_not_here


def main() -> None:
    """Start the hosts that the flags name, write their inventory, and wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.infra.hosts", description=__doc__)
    parser.add_argument("--master", action="store_true", help="a host for the master (and TensorBoard)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="hosts for N workers")
    parser.add_argument("--clients", type=int, default=0, metavar="N", help="hosts for N clients")
    parser.add_argument("--load-balancer", action="store_true", help="a host for a load balancer")
    parser.add_argument("--s3", action="store_true", help="a host for an S3 server")
    parser.add_argument("--all", action="store_true", help="one of each, two workers and three clients")
    parser.add_argument("--inventory", type=Path, help="the file to write; a temporary one by default")
    flags = parser.parse_args()
    if reason := why_not_here():
        sys.exit(f"Error: {reason}")
    if flags.all:
        flags.master = flags.load_balancer = flags.s3 = True
        flags.workers, flags.clients = flags.workers or 2, flags.clients or 3
    groups = site(
        workers=flags.workers, clients=flags.clients, master=flags.master, balancer=flags.load_balancer, s3=flags.s3
    )
    if not any(groups.values()):
        parser.error("name at least one host, or --all")
    _keep(groups, flags.inventory)


def site(
    *, workers: int, clients: int, master: bool = True, balancer: bool = True, s3: bool = True
) -> dict[str, list[str]]:
    """Return the groups of a site with a host for each member."""
    return {
        "master_aggregator": ["master-0"] * master,
        "tensorboard": ["master-0"] * master,
        "worker_aggregators": [f"worker-{number}" for number in range(workers)],
        "load_balancers": ["load-balancer-0"] * balancer,
        "s3": ["s3-0"] * s3,
        "clients": [f"client-{number}" for number in range(clients)],
    }


def _keep(groups: dict[str, list[str]], inventory: Path | None) -> None:
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="fedtier-hosts-") as name:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        with Hosts(Path(name), groups) as hosts:
            path = hosts.write_inventory(inventory or Path(name) / "hosts.yml")
            for host in hosts:
                print(f"{host.name:16} {' '.join(host.ssh_command()[:-2])}")
            print(f"inventory: {path}\nCtrl-C ends all of them", flush=True)
            while True:
                signal.pause()


if __name__ == "__main__":
    main()
