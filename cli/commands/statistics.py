"""`wakeline statistics`: how leaders and subscriptions do, and the check of it."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, Duration, settings_options

if TYPE_CHECKING:
    from schemas.statistics import Statistics

_PAUSE_S = 0.5


@click.command(short_help="How leaders and subscriptions do.")
@click.argument("subject", required=False)
@click.option("--verify", is_flag=True, help="Count everything again from the log and compare.")
@click.option(
    "--wait",
    type=Duration(),
    default="10s",
    show_default=True,
    help="With --verify: how long what is on its way may take.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per subject.")
@settings_options
def statistics(subject: str | None, verify: bool, wait: float, as_json: bool, chosen: Chosen) -> None:
    """Show the statistics of all, or of SUBJECT: leader:NAME, subscription:NAME or NAME.

    With --verify every number is counted again from order-status, outcomes and account-events; a difference is told
    with both values and ends with exit code 1.
    """
    from cli import bootstrap
    from cli.statistics import read_statistics

    settings = chosen.load()
    address, security = bootstrap.client(settings)["bootstrap_servers"], settings.broker.security
    if verify:
        told = verified(address, security, wait)
        click.echo(f"{len(told)} subjects, no difference", err=True)
    else:
        told = read_statistics(address, security)
    found = chosen_subjects(told, subject)
    click.echo("\n".join(as_lines(found) if as_json else table(found)))


def verified(address: str, security: Any, wait_s: float) -> "dict[str, Statistics]":
    """Return the statistics as told, once they are as counted.

    Raises:
        Failure: they still differ after `wait_s`; its text holds every difference.
    """
    from cli.statistics import difference, lag, read_statistics, recompute

    limit_s = time.monotonic() + wait_s
    while True:
        told = read_statistics(address, security)
        lines = difference(told, recompute(address, security))
        if not lines:
            return told
        if time.monotonic() > limit_s:
            behind = lag(address, security)
            mend = (
                f"The statistics role is {behind} records behind: run it (`wakeline worker --roles statistics`)"
                if behind
                else "The role has read all; look at `wakeline tail parked` and `wakeline tail alerts`"
            )
            raise Failure(ExitCode.FAILURE, f"{len(lines)} differences:\n" + "\n".join(lines), mend)
        time.sleep(_PAUSE_S)


def chosen_subjects(told: "dict[str, Statistics]", subject: str | None) -> "list[Statistics]":
    """Return what was asked for: leaders by rank, then subscriptions by name.

    Raises:
        Failure: nothing is known of the subject.
    """
    if subject is None:
        return sorted(told.values(), key=lambda one: (one.kind, one.rank or len(told), one.subject))
    found = [told[name] for name in (subject, f"leader:{subject}", f"subscription:{subject}") if name in told]
    if not found:
        import difflib

        near = difflib.get_close_matches(subject, [name.partition(":")[2] for name in told], 1)
        mend = f"Did you mean {near[0]!r}?" if near else "`wakeline statistics` lists all of which there are any"
        raise Failure(ExitCode.FAILURE, f"no statistics of {subject!r}", mend)
    return found


def as_lines(found: "Iterable[Statistics]") -> list[str]:
    """Return one JSON object per subject."""
    from schemas.codec import encode

    return [encode(one).decode() for one in found]


_COLUMNS = ("subject", "net", "return", "trades", "win", "factor", "Sharpe", "Sortino", "drawdown")
_COPYING = ("followers", "AUM", "copiers", "copied", "skipped", "failed", "success", "delay", "cost")
_WIDE = 28


def table(found: "Iterable[Statistics]") -> list[str]:
    """Return the statistics for people; what is not known is a dash."""
    rows = [(_COLUMNS, _COPYING), *((_own(one), _copying(one)) for one in found)]
    return [_line(own[0], (*own[1:], *copying)) for own, copying in rows]


def _own(one: "Statistics") -> tuple[str, ...]:
    return (
        one.subject,
        f"{one.realized_pnl - one.fees:.2f}",
        _percent(one.total_return),
        str(one.trades),
        _percent(one.win_rate),
        _number(one.profit_factor),
        _number(one.sharpe),
        _number(one.sortino),
        f"{one.max_drawdown:.2f}",
    )


def _copying(one: "Statistics") -> tuple[str, ...]:
    leads = one.kind == "leader"
    return (
        str(one.followers) if leads else "-",
        "-" if one.aum is None else f"{one.aum:.0f}",
        f"{one.copiers_realized_pnl - one.copiers_fees:.2f}" if leads else "-",
        str(one.copied + one.reduced),
        str(one.skipped),
        str(one.failed),
        _percent(one.success_rate),
        "-" if one.delay_ms is None else f"{one.delay_ms:.0f}ms",
        "-" if one.cost_bps is None else f"{one.cost_bps:.1f}bp",
    )


def _line(first: str, cells: Iterable[str]) -> str:
    return f"{first:<{_WIDE}}" + "".join(f"{cell:>11}" for cell in cells)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.2f}%"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
