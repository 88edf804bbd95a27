"""What this machine knows of its package registries, found out when it is needed: hosts install packages as it does."""

from __future__ import annotations

import ast
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

_SOURCES = "$(CREATED_BY) $(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def apt_sources() -> str:
    """Return the machine's lines of Debian's own packages, as in ``sources.list``."""
    printed = _output("apt-get", "indextargets", "--format", _SOURCES)
    return "".join(
        f"{line.split(maxsplit=2)[2]}\n" for line in printed.splitlines() if line.startswith("Packages Debian ")
    )


def apt_settings() -> str:
    """Return how the machine's apt reaches a registry: proxies, certificates, what it forgives."""
    printed = _output("apt-config", "dump")
    return "".join(
        f"{line}\n" for line in printed.splitlines() if re.match(r"Acquire::(Check-|Retries|https?\b)", line)
    )


def pip_settings() -> tuple[str, list[Path]]:
    """Return a ``pip.conf`` of all that this machine's pip is told, and the paths that it names."""
    sections: dict[str, dict[str, str]] = defaultdict(dict)
    for line in _output(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.removeprefix(":env:").removeprefix(".").rpartition(".")
        sections[section or "global"][option] = ast.literal_eval(value)
    named = [word for options in sections.values() for value in options.values() for word in value.split()]
    return _as_ini(sections), sorted({path for word in named if (path := _path_of(word)) is not None})


def ca_bundle() -> Path:
    """Return the file of the certificate authorities that this machine trusts."""
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return Path(named) if named and Path(named).is_file() else CA_BUNDLE


def proxies() -> dict[str, str]:
    """Return the variables that name proxies."""
    return {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}


def missing_programs(*programs: str) -> list[str]:
    """Return those of some programs that this machine does not have."""
    return [program for program in programs if shutil.which(program) is None]


def _path_of(word: str) -> Path | None:
    if word.startswith("file://"):
        # An index links to files that lie beside it.
        path = Path(urlsplit(word).path)
        path = path.parent if path.parent != path.parent.parent else path
    else:
        path = Path(word)
    return path if path.is_absolute() and path.exists() else None


def _as_ini(sections: dict[str, dict[str, str]]) -> str:
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{option} = " + "\n    ".join(value.split("\n")) for option, value in options.items()]
    return "".join(f"{line}\n" for line in lines)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
