"""Sums to `Statistics`: the formulas (docs/statistics.md), and what is put together on reading.

Entry points: `leader_statistics`, `subscription_statistics`, `completed`, `leader_subject`, `subscription_subject`.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from processors.account.money import ZERO, money_context
from processors.statistics.state import Leader, Subscription
from processors.statistics.sums import Capital, Copies, Money, ratio, share
from schemas.statistics import Statistics


def leader_subject(leader: str) -> str:
    """Return the key of a leader's statistics."""
    return f"leader:{leader}"


def subscription_subject(subscription: str) -> str:
    """Return the key of a subscription's statistics."""
    return f"subscription:{subscription}"


def subscription_statistics(name: str, leader: str, subscription: Subscription, now_ms: int) -> Statistics:
    """Return the statistics of a subscription."""
    follows, capital = subscription.follows, subscription.capital
    return Statistics(
        now_ms=now_ms,
        subject=subscription_subject(name),
        kind="subscription",
        leader=leader,
        subscription=name,
        account=subscription.account,
        followers=int(follows),
        aum=capital.latest if follows and capital.samples else None,
        **_figures(subscription.money, capital, subscription.copies),
    )


def leader_statistics(name: str, leader: Leader, now_ms: int) -> Statistics:
    """Return the statistics of a leader: its own record, and the sums over its subscriptions."""
    return Statistics(
        now_ms=now_ms,
        subject=leader_subject(name),
        kind="leader",
        leader=name,
        followers=leader.followers,
        aum=leader.aum if leader.sampled else None,
        copiers_realized_pnl=leader.copiers_realized,
        copiers_fees=leader.copiers_fees,
        **_figures(leader.money, leader.capital, leader.copies),
    )


def completed(told: Mapping[str, Statistics]) -> dict[str, Statistics]:
    """Return statistics with the leaders' figures of their followers summed up from the subscriptions, and ranked.

    A leader's own record on the topic tells its followers at most once per second; its subscriptions are always told.
    """
    followers: dict[str, list[Statistics]] = {}
    for subject in sorted(told):
        one = told[subject]
        followers.setdefault(one.leader, []).extend([one] if one.kind == "subscription" else [])
    found = dict(told)
    with money_context():
        for name, copiers in followers.items():
            own = told.get(leader_subject(name))
            if own is not None:
                found[own.subject] = _with_followers(own, copiers)
    returns = [
        (-one.total_return, one.subject)
        for one in found.values()
        if one.kind == "leader" and one.total_return is not None
    ]
    for rank, (_, subject) in enumerate(sorted(returns), 1):
        found[subject] = msgspec.structs.replace(found[subject], rank=rank)
    return found


def _figures(money: Money, capital: Capital, copies: Copies) -> dict[str, Any]:
    sharpe, sortino = money.sharpe_and_sortino()
    average, done = capital.average, copies.copied + copies.reduced
    return {
        "trades": money.trades,
        "wins": money.wins,
        "gross_profit": money.gross_profit,
        "gross_loss": money.gross_loss,
        "fees": money.fees,
        "realized_pnl": money.realized,
        "capital": average,
        "total_return": None if average is None else ratio(money.net, average),
        "win_rate": share(money.wins, money.trades),
        "profit_factor": ratio(money.gross_profit, money.gross_loss),
        "sharpe": sharpe,
        "sortino": sortino,
        "max_drawdown": money.fall,
        "max_drawdown_fraction": None if average is None else ratio(money.fall, average + money.fall_peak),
        "copied": copies.copied,
        "reduced": copies.reduced,
        "skipped": copies.skipped,
        "failed": copies.failed,
        "success_rate": share(done, done + copies.failed),
        "measured": copies.measured,
        "delay_ms": share(copies.delay_ms, copies.measured),
        "cost_bps": ratio(copies.cost_bps, copies.measured),
    }


def _with_followers(own: Statistics, copiers: list[Statistics]) -> Statistics:
    copied, reduced = sum(one.copied for one in copiers), sum(one.reduced for one in copiers)
    failed = sum(one.failed for one in copiers)
    capitals = [one.aum for one in copiers if one.aum is not None]
    return msgspec.structs.replace(
        own,
        followers=sum(one.followers for one in copiers),
        aum=sum(capitals, ZERO) if capitals else None,
        copiers_realized_pnl=_sum(one.realized_pnl for one in copiers),
        copiers_fees=_sum(one.fees for one in copiers),
        copied=copied,
        reduced=reduced,
        skipped=sum(one.skipped for one in copiers),
        failed=failed,
        success_rate=share(copied + reduced, copied + reduced + failed),
        measured=sum(one.measured for one in copiers),
        delay_ms=_mean((one.delay_ms, one.measured) for one in copiers),
        cost_bps=_mean((one.cost_bps, one.measured) for one in copiers),
    )


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)


def _mean(means: Iterable[tuple[float | None, int]]) -> float | None:
    """Return the mean over all of what the means are of."""
    known = [(mean, count) for mean, count in means if mean is not None]
    counts = sum(count for _, count in known)
    return sum(mean * count for mean, count in known) / counts if counts else None
