"""The parameters of a compiled pipeline as flags: what each is, and its default, stands in the pipeline alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from fedtier.flags import SEED

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_AT_LEAST_ONE: Final = click.IntRange(min=1)
_TYPES: Final[Mapping[str, click.ParamType[Any]]] = {"NUMBER_INTEGER": _AT_LEAST_ONE, "NUMBER_DOUBLE": click.FLOAT}
_OWN_TYPES: Final[Mapping[str, click.ParamType[Any]]] = {"SEED": SEED}
_ALSO: Final[Mapping[str, str]] = {"NUM_OF_CLIENTS": "--clients"}
_LIST: Final = "LIST"


def parameters_of(pipeline: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return what a pipeline's specification says of its parameters, by name."""
    found: Mapping[str, Mapping[str, Any]] = pipeline["root"]["inputDefinitions"]["parameters"]
    return found


def parameter_flags(parameters: Mapping[str, Mapping[str, Any]]) -> Callable[[_Decorated], _Decorated]:
    """Add a flag for each parameter: ``--rounds`` for ROUNDS, and for DATA_URLS, a list, ``--data-url`` for each."""

    def decorate(function: _Decorated) -> _Decorated:
        for name, about in reversed(list(parameters.items())):
            function = _flag(name, about)(function)
        return function

    return decorate


def arguments_of(flags: Mapping[str, Any], parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters that were given, by name; of all others the pipeline has the default."""
    given = {name: flags[name] for name in parameters}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value or value == 0
    }


def _flag(name: str, about: Mapping[str, Any]) -> Callable[[_Decorated], _Decorated]:
    multiple = about["parameterType"] == _LIST
    flag = "--" + name.lower().replace("_", "-")
    default = about.get("defaultValue")
    # Numbers of any kind are kept as floats there.
    shown = f"{default:g}" if isinstance(default, float) else default
    usual = "" if default in (None, "", []) else f" [default: {shown}]"
    return click.option(
        flag.removesuffix("s") if multiple else flag,
        *([_ALSO[name]] if name in _ALSO else []),
        name,
        type=_OWN_TYPES.get(name, _TYPES.get(about["parameterType"], click.STRING)),
        multiple=multiple,
        default=None,
        help=f"{about.get('description', '').strip()}{usual}",
    )
