"""The contract of sizing modes; it finds every file in processors/copying/modes/ by itself.

A mode without settings, settings without a mode, or a mode that is not written down in
docs/adding-a-sizing-mode.md, fails.
"""

import dataclasses
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from processors.copying import modes
from processors.copying.modes import Follows, Need, SizeRequest
from processors.copying.modes import SizeMode as Mode
from processors.copying.params import SizeMode as Settings
from processors.copying.sizing import MODES, mode_of, needs_of
from processors.registry import discover

FOUND: dict[str, Mode] = discover(modes, "MODE")
MODELS = {model.model_fields["kind"].default: model for model in get_args(get_args(Settings)[0])}
FILLED = {"quantity": "0.5", "notional": "600", "fraction": "0.1", "tiers": [{"multiplier": "0.5"}]}
D = Decimal


def settings(name: str) -> list[Any]:
    """Settings of a mode with what they must have, one for each of what it may follow."""
    fields = MODELS[name].model_fields
    filled = {field: FILLED[field] for field, info in fields.items() if info.is_required()}
    follows = get_args(fields["follows"].annotation) if "follows" in fields else ()
    return [MODELS[name](**filled, follows=value) for value in follows] or [MODELS[name](**filled)]


def asked(**fields: Any) -> SizeRequest:
    values: dict[str, Any] = {field.name: D(2) for field in dataclasses.fields(SizeRequest)}
    return SizeRequest(**{**values, **fields})


def test_every_kind_has_a_file_and_every_file_a_kind() -> None:
    assert set(FOUND) == set(MODELS)
    assert MODES == FOUND


@pytest.mark.parametrize("name", FOUND)
def test_one_file_per_mode_named_like_its_kind(name: str) -> None:
    mode = FOUND[name]
    assert type(mode).__module__ == f"processors.copying.modes.{name}"
    assert mode.name == name
    assert type(mode).__doc__
    assert all(mode_of(each) is mode for each in settings(name))


@pytest.mark.parametrize("name", FOUND)
def test_says_what_it_follows_and_needs(name: str) -> None:
    for each in settings(name):
        assert FOUND[name].follows(each) in get_args(Follows)
        assert needs_of(each) <= set(get_args(Need))
        assert ("position" in needs_of(each)) == (FOUND[name].follows(each) == "position")


@pytest.mark.parametrize("name", FOUND)
def test_needs_no_more_than_it_says(name: str) -> None:
    for each in settings(name):
        absent = {f"leader_{need}": None for need in get_args(Need) if need not in needs_of(each)}
        assert FOUND[name].wish(each, asked(**absent)) == FOUND[name].wish(each, asked())


@pytest.mark.parametrize("name", FOUND)
def test_a_change_is_above_zero_whatever_the_side(name: str) -> None:
    for each in settings(name):
        long, short = (FOUND[name].wish(each, asked(leader_position=D(sign))) for sign in (3, -3))
        if FOUND[name].follows(each) == "position":
            assert long == -short != 0
            assert (long < 0) == FOUND[name].opposite
        else:
            assert long == short >= 0


@pytest.mark.parametrize("name", FOUND)
def test_is_pure(name: str) -> None:
    for each in settings(name):
        request = asked()
        answers = [FOUND[name].wish(each, request) for _ in range(2)]
        assert answers[0] == answers[1]
        assert request == asked()


@pytest.mark.parametrize("name", FOUND)
def test_is_documented(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "adding-a-sizing-mode.md").read_text()
    assert f"| `{name}` |" in text
