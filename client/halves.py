"""Updates at half their size: large float32 tensors rounded to BF16 or F16, once, before they are saved and sent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import click
import numpy as np

from fedtier.dtypes import Array, TensorSpec, Widened, round_to
from fedtier.kinds import CHUNK, SumPlan, TensorPlan, check_values
from fedtier.problems import NotFinite, OutOfRange

UploadDtype: TypeAlias = Literal["float32", "bfloat16", "float16"]
UPLOAD_DTYPES: Final[Mapping[UploadDtype, str]] = MappingProxyType(
    {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
)

upload_dtype_flag = click.option(
    "--upload-dtype",
    type=click.Choice(list(UPLOAD_DTYPES)),
    default="float32",
    help="How an update carries large float32 tensors: as they are, or rounded to half their size.",
)


def halved(
    plan: SumPlan, stored: Mapping[str, Array], upload_dtype: UploadDtype
) -> tuple[dict[str, Array], tuple[TensorSpec, ...]]:
    """Round, half to even, what of an update the round takes at half its size.

    A tensor with a number that is too large for the dtype stays as it is: no training is lost for the sake of its size.

    Parameters
    ----------
    plan : SumPlan
    stored : Mapping of str to ndarray
        All tensors, as the round stores them; `check_update` accepted them.
    upload_dtype : {"float32", "bfloat16", "float16"}

    Returns
    -------
    arrays : dict of str to ndarray
    specs : tuple of TensorSpec
        How they are stored now, in the order of the round.
    """
    dtype = UPLOAD_DTYPES[upload_dtype]
    arrays, specs = dict(stored), []
    for tensor in plan.tensors:
        spec = tensor.spec
        if dtype != tensor.dtype and dtype in tensor.upload_dtypes:
            half = round_to(stored[tensor.name], dtype)
            if _fits(tensor, half, dtype, plan.weight_limit):
                arrays[tensor.name], spec = half, TensorSpec(tensor.name, dtype, tensor.shape)
        specs.append(spec)
    return arrays, tuple(specs)


def _fits(tensor: TensorPlan, half: Array, dtype: str, weight_limit: int) -> bool:
    """Return whether rounding made no number infinite, nor one that the round does not take."""
    try:
        check_values(tensor, Widened(half, dtype, np.empty(CHUNK, np.float32)), weight_limit)
    except (NotFinite, OutOfRange):
        return False
    return True
