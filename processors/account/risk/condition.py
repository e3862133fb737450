"""No entry while the subscription's condition does not hold."""

from processors.account.money import shown
from processors.account.risk import Finding, Proposal
from processors.copying.params import Condition as Settings
from schemas.leaders import LeaderEvent
from schemas.reasons import RefusalReason, Side

_HOUR_MS = 3_600_000
_SIDES = {Side.BUY: "long", Side.SELL: "short"}


class Condition:
    """Refuses by the leader's record, the hour, or the side; the first part that fails is told."""

    name = "condition"
    rank = 7
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        settings = proposal.subscription.condition
        numbers = (
            _record(settings, proposal.event) or _hours(settings, proposal.now_ms) or _sides(settings, proposal.side)
        )
        return (RefusalReason.CONDITION, numbers) if numbers else None


def _record(settings: Settings, event: LeaderEvent) -> dict[str, str]:
    pnl, rate = settings.min_leader_pnl, settings.min_leader_win_rate
    if pnl is not None and event.realized_pnl < pnl:
        return {
            "condition": "min_leader_pnl",
            "leader_pnl": shown(event.realized_pnl),
            "min_leader_pnl": str(pnl),
        }
    enough = event.trades >= max(settings.min_leader_trades, 1)  # no rate of no trades
    if rate is not None and enough and event.wins < rate * event.trades:  # multiplied out: no rounding decides
        return {
            "condition": "min_leader_win_rate",
            "leader_wins": str(event.wins),
            "leader_trades": str(event.trades),
            "min_leader_win_rate": str(rate),
        }
    return {}


def _hours(settings: Settings, now_ms: int) -> dict[str, str]:
    begin, end = settings.from_hour, settings.to_hour
    if begin is None or end is None:
        return {}
    hour = now_ms // _HOUR_MS % 24
    inside = begin <= hour < end if begin < end else hour >= begin or hour < end
    if inside:
        return {}
    return {"condition": "hours", "hour": str(hour), "from_hour": str(begin), "to_hour": str(end)}


def _sides(settings: Settings, side: Side) -> dict[str, str]:
    if settings.sides in ("both", _SIDES[side]):
        return {}
    return {"condition": "sides", "side": _SIDES[side], "sides": settings.sides}


CHECK = Condition()
