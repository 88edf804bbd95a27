"""Stand-ins for the images of public registries, which tests do not reach: made of Debian's packages and a Python.

They keep what users of the real ones rely on: names, users, ports, entry points, where files lie. They differ in what
they are made of:

- ``docker.io/library/python:3.12-slim``, and the same of the Python that runs the tests: Debian 12 and a Python of this
  machine in ``/usr/local``.
- ``docker.io/library/nginx:1.28``: Debian's nginx, 1.22, with its stream module loaded, which the real one has within.
- ``quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z``: MinIO where ``minio`` is on PATH. Elsewhere it is **no MinIO**
  but SeaweedFS behind nginx, which answers MinIO's ``/minio/health/live`` and takes its command line and variables. Of
  MinIO's client ``mc`` it has what a health check calls.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fedtier_cli.seaweed import find_weed
from tests.infra.containers import pythons
from tests.infra.containers.library import Builder
from tests.infra.hosts import debian

PYTHONS = tuple(sorted({"3.12", f"{sys.version_info.major}.{sys.version_info.minor}"}))
"""The versions of Python: that of the images that are shipped, and the one that runs the tests."""
_AT_ONCE = 2
_FILES = Path(__file__).with_name("files")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stand-in is made.

    Parameters
    ----------
    packages
        Debian's packages in it.
    preparation
        A script that runs in it as the last step of the making.
    changes
        Its settings, as lines of a Dockerfile.
    hooks
        Commands that run before, outside, with ``$1`` the root folder.
    sources
        Files that the hooks copy, or that tell of what they copy: the same from any checkout, whatever their paths.
    """

    packages: Sequence[str]
    preparation: str
    changes: Sequence[str]
    hooks: Sequence[str] = ()
    sources: Sequence[Path] = ()

    def digest(self) -> str:
        """Return what names an image by this recipe."""
        parts = [*self.packages, self.preparation, *self.changes, *self.hooks, debian.origin()]
        for path in self.sources:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            parts = [part.replace(str(path), content) for part in [*parts, str(path)]]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def make(builder: Builder) -> dict[str, str]:
    """Make what is not there yet, and return the ids by the real images' names."""
    named = {name: (recipe, _own_name(name, recipe)) for name, recipe in recipes().items()}
    missing = {own_name: recipe for recipe, own_name in named.values() if builder.identity(own_name) is None}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        archives = dict(zip(missing, pool.map(lambda item: _archive(builder, *item), missing.items()), strict=True))
    for own_name, archive in archives.items():
        changes = [f"--change={change}" for change in missing[own_name].changes]
        builder.run("import", *changes, str(archive), own_name)
        archive.unlink()
    return {name: _identity(builder, own_name) for name, (_, own_name) in named.items()}


def _own_name(name: str, recipe: Recipe) -> str:
    return f"localhost/stand-in/{name.rpartition('/')[2].partition(':')[0]}:{recipe.digest()}"


def _archive(builder: Builder, own_name: str, recipe: Recipe) -> Path:
    archive = builder.folder / f"{own_name.rpartition(':')[2]}.tar"
    hooks = [f"--customize-hook={hook}" for hook in recipe.hooks]
    debian.make_root(archive, recipe.packages, preparation=recipe.preparation, options=hooks)
    return archive


def _identity(builder: Builder, name: str) -> str:
    identity = builder.identity(name)
    if identity is None:
        raise RuntimeError(f"the image {name} was made, and is not there")
    return identity


def recipes() -> Mapping[str, Recipe]:
    """Return all recipes by the real image's name."""
    return {
        **{f"docker.io/library/python:{version}-slim": _python(version) for version in PYTHONS},
        "docker.io/library/nginx:1.28": _nginx(),
        "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z": _minio(),
    }


def _python(version: str) -> Recipe:
    prefix = pythons.prefix_of(version)
    tree = f"bin/python{version} lib/python{version}"
    # As the real one: no tests, nothing to link or to embed Python with, no packages but pip.
    left_out = ("test", "tests", "idle_test", "idlelib", "tkinter", "turtledemo", "__pycache__", "*.a", "config-*")
    excluded = " ".join(f"--exclude='{name}'" for name in (*left_out, "site-packages/*"))
    copy = f"cd '{prefix}' && tar -c {excluded} {tree} lib/libpython{version}.so* | tar -x -C \"$1/usr/local\""
    return Recipe(
        packages=(
            *("ca-certificates", "netbase", "tzdata", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5"),
            *("libncursesw6", "libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
        ),
        hooks=[copy],
        preparation=f"""
set -eu
ldconfig
python{version} -m ensurepip --default-pip >/dev/null
cd /usr/local/bin
ln -s python{version} python3
ln -s python3 python
ln -sf pip3 pip
find /usr/local -name __pycache__ -prune -exec rm -r {{}} +
""",
        changes=[
            'ENV PATH="/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"',
            'ENV LANG="C.UTF-8"',
            'CMD ["python3"]',
        ],
        sources=[prefix / "bin" / f"python{version}"],
    )


_NGINX_PACKAGES = ("ca-certificates", "curl", "tzdata", "nginx-light", "libnginx-mod-stream")
_NGINX_PREPARATION = """
set -eu
groupadd --system --gid 101 nginx
useradd --system --uid 101 --gid nginx --home-dir /var/cache/nginx --shell /usr/sbin/nologin nginx
install -d -o root -g root /var/cache/nginx /docker-entrypoint.d
ln -sf /dev/stdout /var/log/nginx/access.log
ln -sf /dev/stderr /var/log/nginx/error.log
rm -rf /etc/nginx/modules-enabled /etc/nginx/sites-* /etc/nginx/snippets
chmod 0755 /usr/local/sbin/* /docker-entrypoint.sh
"""
_NGINX_FILES = (
    ("nginx.sh", "usr/local/sbin/nginx"),
    ("docker-entrypoint.sh", "docker-entrypoint.sh"),
    ("nginx.conf", "etc/nginx/nginx.conf"),
    ("default.conf", "etc/nginx/conf.d/default.conf"),
)
_PATH = 'ENV PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'


def _nginx() -> Recipe:
    return Recipe(
        packages=_NGINX_PACKAGES,
        hooks=_copies(_NGINX_FILES),
        preparation=_NGINX_PREPARATION,
        changes=[
            *(_PATH, "EXPOSE 80", "STOPSIGNAL SIGQUIT"),
            *('ENTRYPOINT ["/docker-entrypoint.sh"]', 'CMD ["nginx", "-g", "daemon off;"]'),
        ],
        sources=[_FILES / name for name, _ in _NGINX_FILES],
    )


def _minio() -> Recipe:
    if minio := shutil.which("minio"):
        program, files = Path(minio), [("minio-entrypoint.sh", "usr/bin/docker-entrypoint.sh")]
        target, names = "usr/bin/minio", "/usr/bin/minio /usr/bin/docker-entrypoint.sh"
    else:
        program = find_weed()
        files = [("minio.sh", "usr/bin/minio"), ("minio-entrypoint.sh", "usr/bin/docker-entrypoint.sh")]
        target, names = "usr/bin/weed", "/usr/bin/weed /usr/bin/minio /usr/bin/docker-entrypoint.sh"
    files = [*_NGINX_FILES, *files, ("mc.sh", "usr/bin/mc")]
    return Recipe(
        packages=_NGINX_PACKAGES,
        hooks=[*_copies(files), f"cp '{program}' \"$1/{target}\""],
        preparation=f"{_NGINX_PREPARATION}\nmkdir /data\nchmod 0755 {names} /usr/bin/mc\n",
        changes=[
            *(_PATH, "EXPOSE 9000", "VOLUME /data"),
            *('ENTRYPOINT ["/usr/bin/docker-entrypoint.sh"]', 'CMD ["minio"]'),
        ],
        sources=[program, *(_FILES / name for name, _ in files)],
    )


def _copies(files: Sequence[tuple[str, str]]) -> list[str]:
    return [f'mkdir -p "$(dirname "$1/{to}")" && cp \'{_FILES / name}\' "$1/{to}"' for name, to in files]
