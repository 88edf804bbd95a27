"""How objects of Kubernetes are read: every field is declared, and one that nothing comes of says why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, slots=True)
class NotApplied:
    """Marks a field that is read, and of which nothing comes here.

    Parameters
    ----------
    why : str
        What makes that harmless for what the tests show.
    """

    why: str


class Read(BaseModel):
    """A part of an object; a field that is not declared is an error, so none is dropped in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True)

    @classmethod
    def not_applied(cls) -> Iterator[tuple[str, str]]:
        """Yield each field below this one that is not applied, as `Class.field`, and why."""
        seen: set[type[Read]] = set()
        waiting: list[type[Read]] = [cls]
        while waiting:
            model = waiting.pop()
            if model in seen:
                continue
            seen.add(model)
            for name, field in model.model_fields.items():
                for mark in field.metadata:
                    if isinstance(mark, NotApplied):
                        yield f"{model.__qualname__}.{name}", mark.why
                waiting += _models(field.annotation)


def _models(annotation: object) -> list[type[Read]]:
    if isinstance(annotation, type) and issubclass(annotation, Read):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
