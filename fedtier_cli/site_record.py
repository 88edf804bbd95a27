"""What a run directory knows of a federation on other machines, for whoever looks at the run later."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

from fedtier.problems import BadRequest, StartupError
from fedtier_cli.deploying.site import Site
from fedtier_cli.rundir import RunDirectory
from fedtier_cli.workplace import forget_s3

_RECORD: Final = "site.json"


def recorded_site(run: RunDirectory) -> Site | None:
    """Return the federation that a run directory is about, or None where that is one on this machine.

    Raises
    ------
    StartupError
        The record cannot be read.
    """
    path = run.path / _RECORD
    try:
        return Site.from_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, BadRequest) as error:
        raise StartupError(f"the record {path} cannot be read ({error}); choose another --run-dir") from None


def record_site(run: RunDirectory, site: Site) -> None:
    """Say which federation a run directory is about; its secrets stay where they are."""
    temporary = run.path / f"{_RECORD}.new"
    temporary.write_bytes(site.to_json())
    temporary.replace(run.path / _RECORD)


def require_site(run: RunDirectory, site: Site | None) -> None:
    """Check that a run directory is about a federation, or about one on this machine.

    Raises
    ------
    StartupError
        It is about another one.
    """
    if not run.has_record:
        return
    recorded = recorded_site(run)
    names = [_in_words(recorded), _in_words(site)]
    if names[0] != names[1]:
        raise StartupError(
            f"the run directory {run.path} belongs to {names[0]}, not to {names[1]}; choose another --run-dir"
        )


def _in_words(site: Site | None) -> str:
    if site is None:
        return "a federation on this machine"
    return f"the federation {site.federation} in s3://{site.bucket_name}/{site.bucket_key}"


def use_s3_of(site: Site, environment: MutableMapping[str, str]) -> None:
    """Have programs with this environment find a site's S3; where that is AWS' own, by credentials that are there.

    Raises
    ------
    StartupError
        The credentials of the site's own S3 are not on this machine.
    """
    own = site.s3_environment()
    if "AWS_ACCESS_KEY_ID" in own:
        forget_s3(environment)
    environment.update(own)
