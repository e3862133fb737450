"""Trades of accounts that lead and of external feeds as events of a leader.

Entry point: `on_trade`.

1. Only of a leader that a LeaderChanged made known as an account or a feed, and that is not closed; every other trade
   is parked with the reason, so nothing is lost.
2. Size, position and name come from moves.py; a trade through zero makes two events of one cause.
3. A feed may give neither size nor position: that is a signal, whose record is kept as a strategy's (book.py).
4. A told position that contradicts the book corrects it, and an Alert tells so.
5. Everything is checked before anything is changed.
"""

from decimal import Decimal

from processors.account.money import ZERO, usable
from processors.leader import telling
from processors.leader.book import MOST_POSITIONS, follow_signal, is_full, position_of, trade
from processors.leader.events import Draft, known_before, publish, repeated
from processors.leader.moves import Moves, NotAMove, complete
from processors.leader.state import Leader, LeaderState
from processors.protocols import Out
from schemas.codec import BadRecord
from schemas.leaders import LeaderTrade
from schemas.reasons import LeaderAction, Side

_LARGEST_LEVERAGE = 1_000


def on_trade(state: LeaderState, told: LeaderTrade, now_ms: int) -> list[Out]:
    """Return what a leader's trade becomes; nothing if it was told before.

    Raises:
        BadRecord: not of a leader that may trade, or a trade that contradicts itself; the state is untouched.
    """
    leader = _leader_of(state, told)
    fingerprint = _fingerprint(told)
    known = leader.recent.known.get(told.trade_id)
    if known is not None:
        return repeated(told.leader, told.trade_id, known, fingerprint, now_ms)
    if leader.status == "closed":
        raise BadRecord(f"{_where(told)}: the leader is closed, which is final; make another leader")
    _refuse_bad(told)
    if told.kind == "protection":
        return _protection(leader, told, fingerprint, now_ms)
    if told.size is None and told.position is None:
        return _signal(leader, told, fingerprint, now_ms)
    return _traded(leader, told, fingerprint, now_ms)


def _traded(leader: Leader, told: LeaderTrade, fingerprint: str, now_ms: int) -> list[Out]:
    before = position_of(leader.book, told.instrument)
    try:
        moves = complete(before, told.side, told.size, told.position)
    except NotAMove as error:
        raise BadRecord(f"{_where(told)}: {error}") from error
    _refuse_full(leader, told)
    known_before(told.leader, leader, told.trade_id, fingerprint, now_ms)
    outs = [_corrected(told, before, now_ms)] if moves.corrected else []
    return [*outs, *_moved(leader, told, moves, now_ms)]


def _moved(leader: Leader, told: LeaderTrade, moves: Moves, now_ms: int) -> list[Out]:
    outs: list[Out] = []
    draft = _draft(told)
    for index, move in enumerate(moves.moves):
        outs += publish(
            leader, draft, move.action, move.side, now_ms, size=move.size, position=move.position, index=index
        )
        trade(leader.book, leader.record, told.instrument, move.change, told.price)
    return outs


def _signal(leader: Leader, told: LeaderTrade, fingerprint: str, now_ms: int) -> list[Out]:
    if leader.kind != "feed":
        raise BadRecord(f"{_where(told)}: a trade of an account needs size or position; only a feed may give neither")
    known_before(told.leader, leader, told.trade_id, fingerprint, now_ms)
    outs = publish(leader, _draft(told), LeaderAction.ENTRY, told.side, now_ms)
    follow_signal(leader.signals, leader.record, told.instrument, told.side, told.price)
    return outs


def _protection(leader: Leader, told: LeaderTrade, fingerprint: str, now_ms: int) -> list[Out]:
    before = position_of(leader.book, told.instrument)
    position = before if told.position is None else told.position
    if position == ZERO:
        raise BadRecord(f"{_where(told)}: the leader has no position there to protect; tell its trades, or position")
    if not usable(abs(position)):
        raise BadRecord(f"{_where(told)}: position {position} is out of range (at most 1e12, 18 decimals)")
    _refuse_full(leader, told)
    known_before(told.leader, leader, told.trade_id, fingerprint, now_ms)
    outs = []
    if position != before:
        outs.append(_corrected(told, before, now_ms))
        trade(leader.book, leader.record, told.instrument, position - before, told.price)
    side = Side.BUY if position > ZERO else Side.SELL
    return [*outs, *publish(leader, _draft(told), LeaderAction.PROTECTION, side, now_ms, position=position)]


def _draft(told: LeaderTrade) -> Draft:
    fields = {
        name: getattr(told, name) for name in ("equity", "leverage", "margin_mode", "stop_loss", "take_profit", "chain")
    }
    return Draft(
        leader=told.leader,
        cause=told.trade_id,
        event_ms=told.event_ms,
        detected_ms=told.detected_ms,
        instrument=told.instrument,
        price=told.price,
        fields=fields,
    )


def _leader_of(state: LeaderState, told: LeaderTrade) -> Leader:
    if not told.leader or not told.trade_id or not told.instrument:
        raise BadRecord("trade without leader, trade_id or instrument")
    leader = state.leaders.get(told.leader)
    if leader is not None and leader.kind == "strategy":
        raise BadRecord(f"{_where(told)}: the leader is a strategy, which leads by signals, not by trades")
    if leader is None or not leader.declared:
        raise BadRecord(f"{_where(told)}: unknown leader; make it first (`wakeline leaders add`), as account or feed")
    return leader


def _refuse_bad(told: LeaderTrade) -> None:
    amounts: list[tuple[str, Decimal | None]] = [
        ("price", told.price),
        ("size", told.size),
        ("stop_loss", told.stop_loss),
        ("take_profit", told.take_profit),
    ]
    for name, value in amounts:
        if value is not None and not usable(value):
            raise BadRecord(
                f"{_where(told)}: {name} must be a number above zero, at most 1e12 and with at most 18 decimals, "
                f"not {value}"
            )
    if told.equity is not None and not (told.equity == ZERO or (told.equity.is_finite() and usable(abs(told.equity)))):
        raise BadRecord(f"{_where(told)}: equity {told.equity} is no amount (at most 1e12, 18 decimals)")
    if told.leverage is not None and not 1 <= told.leverage <= _LARGEST_LEVERAGE:
        raise BadRecord(f"{_where(told)}: leverage must lie in 1..{_LARGEST_LEVERAGE}, not {told.leverage}")
    for stamp, at_ms in (("event_ms", told.event_ms), ("detected_ms", told.detected_ms)):
        if at_ms < 0:
            raise BadRecord(f"{_where(told)}: {stamp} must be milliseconds since 1970, not {at_ms}")


def _refuse_full(leader: Leader, told: LeaderTrade) -> None:
    if is_full(leader.book, told.instrument):
        raise BadRecord(f"{_where(told)}: the leader has {MOST_POSITIONS} open positions, no more are kept")


def _where(told: LeaderTrade) -> str:
    return f"trade {told.trade_id} of leader {told.leader} in {told.instrument}"


def _fingerprint(told: LeaderTrade) -> str:
    parts = (told.kind, told.instrument, told.side, told.price, told.size, told.position)
    protection = (told.stop_loss, told.take_profit) if told.kind == "protection" else ()
    return " ".join(str(part) for part in (*parts, *protection))


def _corrected(told: LeaderTrade, before: Decimal, now_ms: int) -> Out:
    numbers = {
        "known": str(before),
        "side": told.side.value,
        "size": str(told.size),
        "position": str(told.position),
        "instrument": told.instrument,
    }
    text = (
        f"Leader {told.leader} in {told.instrument}: trade {told.trade_id} tells position {told.position}, which does "
        f"not follow from {before} and its size. The told position stands; trades in between were missed."
    )
    return telling.alert("leader_book_corrected", "warning", text, numbers, now_ms)
