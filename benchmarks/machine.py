"""What the machine can do at all: loopback TCP, copying, hashing, and writing to disk.

``python -m benchmarks.machine [--folder DIR]`` prints it as JSON. Every figure is the median of several turns;
GB are 10**9 bytes. Ratios to these figures mean more than seconds do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

_OCTAL = re.compile(r"\\([0-7]{3})")
_TURNS = 5
_COPIED_BYTES = 64 * 10**6
_SENT_BYTES = 10**9
_PIECE_BYTES = 1 << 20
_SENDER = """
import socket, sys
data, left = bytes(int(sys.argv[2])), int(sys.argv[3])
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    while left:
        piece = memoryview(data)[:left]
        connection.sendall(piece)
        left -= len(piece)
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine is, and what it can do.

    Parameters
    ----------
    processor, system, python, numpy : str
    cores : int
        That this process may use.
    memory_gigabytes : float
    loopback_gigabytes_per_second : float
        Of one TCP connection between two processes, by `sendall` and `recv_into` of 1 MiB.
    memcpy_gigabytes_per_second : float
        Of 64 MB between arrays that are larger than caches; bytes read, not read and written.
    sha256_gigabytes_per_second : float
        On one core.
    fsync_megabytes_per_second : float
        Writing 64 MB into a new file and syncing it, in the folder that the measurement used.
    """

    processor: str
    system: str
    python: str
    numpy: str
    cores: int
    memory_gigabytes: float
    loopback_gigabytes_per_second: float
    memcpy_gigabytes_per_second: float
    sha256_gigabytes_per_second: float
    fsync_megabytes_per_second: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the machine can do at all.")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to write")
    print(json.dumps(asdict(this_machine(parser.parse_args().folder)), indent=1))


def this_machine(folder: Path) -> Machine:
    """Measure the machine that this runs on, which takes some seconds.

    Parameters
    ----------
    folder : Path
        Whose disk is measured.
    """
    data = np.random.default_rng(0).bytes(_COPIED_BYTES)
    return Machine(
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        numpy=np.__version__,
        cores=len(os.sched_getaffinity(0)),
        memory_gigabytes=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        loopback_gigabytes_per_second=round(loopback_gigabytes_per_second(), 2),
        memcpy_gigabytes_per_second=round(_memcpy(data), 2),
        sha256_gigabytes_per_second=round(_speed(len(data), lambda: hashlib.sha256(data)) / 1e9, 2),
        fsync_megabytes_per_second=round(_speed(len(data), lambda: _write(folder, data)) / 1e6),
    )


def filesystem_of(folder: Path) -> str:
    """Return the type of the file system that a folder lies on, as Linux calls it, such as ``ext4`` or ``tmpfs``."""
    place, found = folder.resolve(), (Path("/"), "unknown")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        # Spaces and the like stand there as octal numbers of three digits.
        point = Path(_OCTAL.sub(lambda digits: chr(int(digits[1], 8)), mount.split()[4]))
        if place.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
            found = (point, source.split()[0])
    return found[1]


def loopback_gigabytes_per_second(sent_bytes: int = _SENT_BYTES) -> float:
    """Return how fast one process receives over loopback what another one sends."""
    return _median([_received(sent_bytes) for _ in range(_TURNS)]) / 1e9


def _received(sent_bytes: int) -> float:
    """Return bytes per second of one connection."""
    room = bytearray(_PIECE_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [sys.executable, "-I", "-c", _SENDER, *map(str, (listener.getsockname()[1], _PIECE_BYTES, sent_bytes))]
        with subprocess.Popen(words) as sender:
            listener.settimeout(60)
            connection, _ = listener.accept()
            with connection:
                started, received = time.perf_counter(), 0
                while count := connection.recv_into(room):
                    received += count
                seconds = time.perf_counter() - started
            if sender.wait() or received != sent_bytes:
                raise RuntimeError(f"{received} of {sent_bytes} bytes arrived over loopback")
    return received / seconds


def _memcpy(data: bytes) -> float:
    source = np.frombuffer(data, np.uint8)
    target = np.empty_like(source)
    np.copyto(target, source)  # touches its pages
    return _speed(len(data), lambda: np.copyto(target, source)) / 1e9


def _write(folder: Path, data: bytes) -> None:
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())


def _speed(size: int, operation: Callable[[], object]) -> float:
    """Return bytes per second of what takes so many."""
    speeds = []
    for _ in range(_TURNS):
        started = time.perf_counter()
        operation()
        speeds.append(size / (time.perf_counter() - started))
    return _median(speeds)


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


if __name__ == "__main__":
    main()
