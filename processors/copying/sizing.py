"""Modes and caps as their callers use them.

Entry points: `MODES`, `CAPS`, `mode_of`, `needs_of`, `missing`, `smallest_room`.

1. `settings` here are the mode's own: `params.size`, with the overrides of the instrument applied.
2. `missing` is asked before `wish`: a mode may take for granted what it needs.
3. Of several caps that leave the same the first by rank is named.
"""

from collections.abc import Sequence

from processors.copying import caps, modes
from processors.copying.caps import Cap, CapRequest, Room
from processors.copying.modes import Need, SizeMode, SizeRequest
from processors.copying.params import SizeMode as SizeSettings
from processors.registry import discover
from schemas.reasons import RefusalReason


def _ranked(found: Sequence[Cap]) -> tuple[Cap, ...]:
    ranked = tuple(sorted(found, key=lambda cap: cap.rank))
    if len({cap.rank for cap in ranked}) != len(ranked):
        raise TypeError(f"caps need different ranks: {[(cap.name, cap.rank) for cap in ranked]}")
    return ranked


MODES: dict[str, SizeMode] = discover(modes, "MODE")
CAPS: tuple[Cap, ...] = _ranked(list(discover(caps, "CAP").values()))


def mode_of(settings: SizeSettings) -> SizeMode:
    """Return the mode of these settings."""
    return MODES[settings.kind]


def needs_of(settings: SizeSettings) -> frozenset[Need]:
    """Return what an event must carry: what the mode names, with the position in place of the size if it follows it."""
    mode = MODES[settings.kind]
    return (mode.needs - {"size"}) | {"position"} if mode.follows(settings) == "position" else mode.needs


def missing(settings: SizeSettings, request: SizeRequest) -> RefusalReason | None:
    """Return why the leader's event does not tell enough for the mode, None if it does."""
    needs = needs_of(settings)
    if "size" in needs and request.leader_size is None:
        return RefusalReason.NO_LEADER_SIZE
    if "position" in needs and request.leader_position is None:
        return RefusalReason.NO_LEADER_POSITION
    if "equity" in needs and (request.leader_equity is None or request.leader_equity <= 0):
        return RefusalReason.NO_LEADER_EQUITY
    return None


def smallest_room(request: CapRequest) -> tuple[Cap, Room] | None:
    """Return the cap that leaves least and what it leaves, None if every cap is off."""
    smallest: tuple[Cap, Room] | None = None
    for cap in CAPS:
        room = cap.room(request)
        if room is not None and (smallest is None or room.notional < smallest[1].notional):
            smallest = cap, room
    return smallest
