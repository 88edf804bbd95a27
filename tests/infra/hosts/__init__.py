"""Hosts for tests: real systems with systemd as PID 1, reached by ssh, in containers of systemd-nspawn.

`Hosts` starts them on a root that `root.py` builds once, each with an address of its own in 127.0.1.0/24; they share
the network of this machine and what `machine.py` finds out about its package registries. Nothing of a host outlives
the process that started it: its processes and mounts are in namespaces that end with it. Root on Debian only.

By hand: ``python -m tests.infra.hosts --help``.
"""

from tests.infra.hosts.fleet import Hosts
from tests.infra.hosts.host import Host
from tests.infra.hosts.root import why_not_here

__all__ = ["Host", "Hosts", "why_not_here"]
