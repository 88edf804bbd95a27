"""Loaded by schemathesis: bodies for uploads, of which some are taken.

Those that lie in the folder that `FEDTIER_STORM_BODIES` names are sent as they are: what is taken of them is what the
test that began the storm expects to be counted.
"""

from __future__ import annotations

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

from tests.hostile.make import hostile_files

GOOD = [path.read_bytes() for path in sorted(Path(os.environ["FEDTIER_STORM_BODIES"]).iterdir())]
HOSTILE = [hostile.data for hostile in hostile_files().values()]

schemathesis.openapi.media_type(
    "application/octet-stream",
    st.one_of(st.sampled_from(GOOD), st.sampled_from(GOOD), st.sampled_from(HOSTILE), st.binary(max_size=200)),
)
