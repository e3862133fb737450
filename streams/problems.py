"""How wrong input is told: where it stands, what is wrong, and the nearest name that would have been right.

Entry points: `Problem`, `explained` (of pydantic's errors), `nearest`, `validated`.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


class Problem(NamedTuple):
    """One thing that is wrong: `field` is its dotted path."""

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}" if self.field else self.text


def nearest(name: str, known: Iterable[str], what: str = "known are") -> str:
    """Return "; did you mean 'x'?", or the list of what there is, or nothing where that is long or empty."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; {what} {', '.join(names)}" if 0 < len(names) <= 60 else ""


def explained(error: ValidationError, root: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Return every problem of a validation of `root` with its path under `prefix`."""
    found = []
    for problem in error.errors():
        location = problem["loc"]
        place = ".".join(([prefix] if prefix else []) + [str(part) for part in location])
        if problem["type"] == "extra_forbidden":
            hint = nearest(str(location[-1]), fields_at(root, location[:-1]))
            found.append(Problem(place, f"unknown key{hint}"))
        elif problem["type"] == "missing":
            found.append(Problem(place, "is missing"))
        else:
            message = str(problem["msg"]).removeprefix("Value error, ")
            plain = not isinstance(problem["input"], dict | list | tuple | BaseModel)
            given = f" (given: {problem['input']!r})" if plain else ""
            found += [Problem(place, line + given) for line in message.splitlines()]
    return found


def validated(model: type[M], value: Mapping[str, Any], prefix: str) -> tuple[M | None, list[Problem]]:
    """Return (the model, no problem) or (None, every problem with its path under `prefix`)."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, explained(error, model, prefix)


def fields_at(root: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model at `location`, walking optional, union and sequence types."""
    models: list[type[BaseModel]] = [root]
    for part in location:
        if isinstance(part, int):
            continue
        fields = [owner.model_fields[part] for owner in models if part in owner.model_fields]
        below = [model for field in fields for model in _models_in(field.annotation)]
        if below:  # else a tag of a union: stay
            models = below
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
