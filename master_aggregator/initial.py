"""The initial model given at start: fetched, checked, and published as round 0 where nothing is published yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import requests

from fedtier.problems import StartupError
from fedtier.store import RoundStore, StoreCorrupt, StoreUnavailable
from fedtier.urls import innermost_cause, shown_url
from master_aggregator.planning import require_summable

_TIMEOUT: Final = (5.0, 60.0)
_BLOCK: Final = 1 << 20


def publish_initial_model(store: RoundStore, web_model: str | None, weight_limit: int) -> str | None:
    """Make sure that a model is published.

    Parameters
    ----------
    store : RoundStore
    web_model : str or None
        Path or http(s) URL of a safetensors file; used only when nothing is published.
    weight_limit : int

    Returns
    -------
    str or None
        A notice for the user when `web_model` was not used.

    Raises
    ------
    StartupError
        S3 cannot be used, the model cannot be read or summed, or nothing is published and no model is given.
    """
    store.check()
    try:
        head = store.read_head()
        if head is not None:
            if web_model is None:
                return None
            return f"--web_model is not used: round {head.head.round} is published at {store.keys.prefix} already"
        if web_model is None:
            raise StartupError(
                f"nothing is published at {store.keys.prefix} yet; give the initial model with --web_model PATH_OR_URL"
            )
        with _local(web_model) as model:
            require_summable(model, weight_limit)
            store.publish_initial(model)
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None
    return None


@contextmanager
def _local(web_model: str) -> Iterator[Path]:
    """Give the model as a file of this machine."""
    if not web_model.startswith(("http://", "https://")):
        yield Path(web_model)
        return
    with tempfile.TemporaryDirectory(prefix="fedtier-") as folder:
        path = Path(folder) / "model.safetensors"
        try:
            with requests.get(web_model, stream=True, timeout=_TIMEOUT) as response, path.open("wb") as file:
                if response.status_code != 200:
                    raise StartupError(
                        f"the model at {shown_url(web_model)} cannot be fetched: the server answers "
                        f"{response.status_code} {response.reason}; check --web_model"
                    )
                for block in response.iter_content(_BLOCK):
                    file.write(block)
        except (requests.RequestException, OSError) as error:
            raise StartupError(
                f"the model at {shown_url(web_model)} cannot be fetched: {innermost_cause(error)}; check --web_model"
            ) from None
        yield path
