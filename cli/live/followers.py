"""The panel of leaders and followers: who copies how, what became of it, and why.

Entry points: `leaders_block`, `followers_table`. Pure, as all of the view.

1. A follower's line needs 80 columns; the mean delay and cost come in from 112 on.
2. With too few lines, those that are halted or held back come first, and the last line says how many more there are.
"""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.live import text
from cli.live.copies import ENDED, Copies, FollowerRow, LeaderRow
from cli.live.model import RunModel
from cli.live.words import how, last_reason
from schemas.reasons import OutcomeState

COST_COLUMNS = 112
WORD_COLUMNS = 130
_SHORT = {"copied": "copy", "reduced": "cut", "skipped": "skip", "failed": "fail", "pending": "pend"}
_BAD = ("halted", "breaker", "paused", "stopped")


def leaders_block(model: RunModel, rows: int, width: int) -> RenderableType:
    """Return a line per leader, `rows` high; one line for all of them where there is no more."""
    leaders, everything = model.copies.leaders(), model.copies.everything()
    label = Text("leaders ", style="bold")
    if everything:
        label.append(f"ALL HELD BACK: {everything}  ", style="bold red")
    if not leaders:
        return _line(label, Text("no event yet", style="dim"))
    if rows <= 1:
        # Wide enough for all words, else the shortest.
        full = Text("   ").join(_leader(leader) for leader in leaders)
        fits = label.cell_len + full.cell_len <= width
        return _line(label, full if fits else Text("   ").join(_leader(leader, short=True) for leader in leaders))
    shown = leaders
    if len(leaders) > rows:
        shown = sorted(leaders, key=lambda leader: leader.breaker == "closed" and leader.status == "active")[: rows - 1]
    indent = Text(" " * 8)
    lines = [_line(label if index == 0 else indent, _leader(leader)) for index, leader in enumerate(shown)]
    if len(shown) < len(leaders):
        lines.append(_line(indent, Text(f"and {len(leaders) - len(shown)} more", style="dim")))
    return Group(*lines)


def followers_table(model: RunModel, rows: int, width: int) -> RenderableType:
    """Return a heading and `rows` lines of subscriptions."""
    wide, widest = width >= COST_COLUMNS, width >= WORD_COLUMNS
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="bold", pad_edge=False)
    table.add_column("follower", no_wrap=True, max_width=24 if wide else max(16, min(22, width - 78)))
    table.add_column("copies by", no_wrap=True, max_width=32 if widest else 22 if wide else 13)
    table.add_column("status", no_wrap=True, max_width=15)
    for name in (*ENDED, OutcomeState.PENDING.value):
        table.add_column(name if widest else _SHORT[name], justify="right", no_wrap=True, min_width=4)
    if wide:
        table.add_column("ms", justify="right", no_wrap=True, min_width=4)
        table.add_column("bps", justify="right", no_wrap=True, min_width=5)
    table.add_column("last reason", no_wrap=True, ratio=1)
    followers = model.copies.followers()
    shown = followers
    if len(followers) > rows:
        shown = model.copies.worst_first()[: max(0, rows - 1)]
    for row in shown:
        table.add_row(*_cells(model.copies, row, wide))
    if rows > 0 and len(shown) < len(followers):
        table.add_row(*_rest(model.copies, shown, len(followers) - len(shown)))
    return Group(table, *_padding(rows, len(followers)))


def _cells(copies: Copies, row: FollowerRow, wide: bool) -> tuple[str | Text, ...]:
    status, reason = copies.status(row), last_reason(row)
    style = "red" if status.startswith(_BAD) else "dim" if status == "closed" else "green"
    delay, cost = row.mean_delay_ms, row.mean_cost_bps
    costs = ("-" if delay is None else text.latency(delay), "-" if cost is None else f"{cost:.2f}") if wide else ()
    return (
        row.subscription,
        how(row.told),
        Text(status if wide else status.partition(":")[0], style=style),
        *(_count(row.counts[state], "red" if state == "failed" else "") for state in ENDED),
        _count(len(row.pending), "yellow"),
        *costs,
        Text(reason or "-", style="red" if row.errors else "dim"),
    )


def _rest(copies: Copies, shown: Sequence[FollowerRow], number: int) -> tuple[str | Text, ...]:
    counts = [_count(copies.outcomes[state] - sum(row.counts[state] for row in shown), "") for state in ENDED]
    pending = _count(copies.pending - sum(len(row.pending) for row in shown), "")
    return Text(f"and {number} more", style="dim"), "", "", *counts, pending


def _leader(leader: LeaderRow, *, short: bool = False) -> Text:
    held = f"breaker {leader.breaker}"
    trouble = leader.breaker != "closed"
    words = [f"{text.count(leader.events)} event{'' if leader.events == 1 else 's'}"]
    if leader.blocked or not short:
        words.append(f"{text.count(leader.blocked)} blocked")
    words.append(f"{leader.followers} follower{'' if leader.followers == 1 else 's'}")
    return Text.assemble(
        (leader.leader, "cyan"),
        (f" {leader.status}" if leader.status != "active" else "", "red"),
        f" {', '.join(words)}",
        (f", {held}" if trouble or not short else "", "red" if trouble else "dim"),
    )


def _count(number: int, style: str) -> Text:
    return Text(text.count(number), style=style if number else "dim")


def _line(*parts: Text) -> Text:
    return Text.assemble(*parts, overflow="ellipsis", no_wrap=True)


def _padding(rows: int, filled: int) -> list[Text]:
    """Keep the table `rows` high, so that what is below does not jump."""
    below = [Text() for _ in range(rows - min(rows, filled))]
    if filled == 0 and below:
        below[0] = Text("nobody follows yet", style="dim", overflow="ellipsis", no_wrap=True)
    return below
