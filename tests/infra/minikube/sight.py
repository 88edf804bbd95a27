"""What a process in a container may do, found out there and not read from what podman was told."""

from __future__ import annotations

from dataclasses import dataclass

from tests.infra.kubernetes.cluster import Cluster

_LOOK = r"""
echo "user $(stat -c %u /proc/1) $(grep ^Groups: /proc/1/status | cut -f2)"
echo "rights $(grep -hE '^(Cap|NoNewPrivs|Seccomp:)' /proc/1/status | cut -f2 | sort -u | tr '\n' ' ')"
echo "memory $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max)"
for folder in / /etc /usr /opt /var /run; do echo "write $(touch "$folder/written" 2>&1)"; done
find /run /var/run/ -path '*serviceaccount*' 2>/dev/null | sed 's/^/token /'
find -L /etc/fedtier -type f -printf 'file %m %U %G %p\n'
"""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was found.

    Parameters
    ----------
    user : tuple of str
        The first process' user, and all its groups.
    rights : frozenset of str
        Its capabilities, whether it can get others, and how its system calls are filtered.
    memory : int
        Bytes that the container may take.
    writes : tuple of str
        What became of writes to the root.
    tokens : tuple of str
        Paths that look as if of a service account.
    files : Mapping
        Mode, user and group of each file below /etc/fedtier.
    """

    user: tuple[str, ...]
    rights: frozenset[str]
    memory: int
    writes: tuple[str, ...]
    tokens: tuple[str, ...]
    files: dict[str, str]


def look_into(cluster: Cluster, pod: str, container: str) -> Sight:
    """Look from within a container that runs."""
    done = cluster.exec(pod, container, "sh", "-c", _LOOK)
    facts = [line.partition(" ")[::2] for line in done.stdout.splitlines()]

    def of(kind: str) -> list[str]:
        return [what for name, what in facts if name == kind]

    return Sight(
        user=tuple(of("user")[0].split()),
        rights=frozenset(of("rights")[0].split()),
        memory=int(of("memory")[0]),
        writes=tuple(of("write")),
        tokens=tuple(of("token")),
        files={line.rpartition(" ")[2]: line.rpartition(" ")[0] for line in of("file")},
    )
