"""The live view: a model and the state of the children become one screen.

Entry points: `Screen` (what is shown beside the model), `render(model, screen, width, height)`.

1. Pure: nothing is asked here, all comes in as arguments.
2. Never higher than the terminal: `share_rows` deals the rows out to the lists, the rest is fixed.
3. Below 120 columns one column of sections, else two; below 33 lines what is not about copying shrinks to lines.
"""

import dataclasses
from collections.abc import Sequence
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.live import text
from cli.live.followers import followers_table, leaders_block
from cli.live.model import OrderRow, RunModel
from schemas.reasons import Side
from schemas.signals import Signal
from schemas.status import PositionChanged

WIDE_COLUMNS = 120
LOW_BODY = 30
# Topics in the order of the flow; what a catalogue adds comes after them, snapshots are not shown.
FLOW = ("market-data", "bars", "signals", "leader-events", "account-events", "orders", "order-status", "outcomes")
_STATE_STYLES = {"running": "green", "starting": "yellow", "stopping": "yellow"}


@dataclasses.dataclass(frozen=True)
class Child:
    """Health of a child process."""

    name: str
    state: str
    restarts: int = 0
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Screen:
    """What is shown beside the model."""

    seconds: float
    speed: str
    broker: str
    children: tuple[Child, ...] = ()
    remaining_s: float | None = None
    notice: str = ""
    recent: tuple[str, ...] = ()


def share_rows(available: int, wanted: Sequence[int], least: int = 1) -> list[int]:
    """Deal `available` rows out to lists that want `wanted` rows each: all get `least`, then one by one in turn."""
    shares = [0] * len(wanted)
    for step in range(max([*wanted, least])):
        for index, want in enumerate(wanted):
            if sum(shares) >= available:
                return shares
            if step < max(want, least):
                shares[index] += 1
    return shares


def render(model: RunModel, screen: Screen, width: int, height: int) -> RenderableType:
    """Return the screen, at most `height` lines of `width` columns."""
    head, foot = _head(model, screen, width), _foot(model, screen)
    body = height - 2 - 1  # head has two lines, foot one
    if body < LOW_BODY:
        return Group(*head, *_low(model, screen, width, body), foot)
    if width >= WIDE_COLUMNS:
        return Group(*head, _wide(model, screen, width, body), foot)
    return Group(*head, *_narrow(model, screen, width, body), foot)


def _narrow(model: RunModel, screen: Screen, width: int, body: int) -> list[RenderableType]:
    topics = _topic_rows(model)
    followers = _follower_rows(model, body // 3)
    leaders = min(3, max(1, len(model.copies.leaders())))
    top_rows = min(len(topics), 8)
    # Headings of the top, of three lists and of the followers, and the line of refusals take a line each.
    shares = share_rows(body - top_rows - 6 - leaders - followers, _wanted(model))
    top = Table.grid(expand=True, padding=(0, 2, 0, 0))
    top.add_column(ratio=1)
    top.add_column(ratio=1)
    top.add_row(_topics_table(topics[:top_rows]), _health(model, screen, top_rows))
    return [
        top,
        _signals_table(model, shares[0]),
        _orders_table(model, shares[1]),
        _positions_table(model, shares[2]),
        leaders_block(model, leaders, width),
        followers_table(model, followers, width),
        _refusals(model, screen),
    ]


def _low(model: RunModel, screen: Screen, width: int, body: int) -> list[RenderableType]:
    """Return a narrow and low screen: topics side by side, health, positions and leaders in a line each."""
    topics = _topic_rows(model)[:9]
    across = max(1, width // 26)
    topic_lines = -(-len(topics) // across)
    # Two headings of lists, that of the topics and of the followers; health 2, positions, leaders, refusals 1 each.
    left = body - topic_lines - 4 - 5
    followers = _follower_rows(model, max(1, left - 2))
    wanted = _wanted(model)
    tabled = left - followers >= 9  # room for positions with a heading
    shares = share_rows(left - followers, wanted if tabled else wanted[:2])
    return [
        _topics_across(topics, across),
        *_health_lines(model, screen),
        _signals_table(model, shares[0]),
        _orders_table(model, shares[1]),
        _positions_table(model, shares[2]) if tabled else _positions_line(model),
        leaders_block(model, 1, width),
        followers_table(model, followers, width),
        _refusals(model, screen),
    ]


def _wide(model: RunModel, screen: Screen, width: int, body: int) -> RenderableType:
    topics = _topic_rows(model)
    left_width = 44
    right_width = width - left_width - 2
    leaders = min(4, max(1, len(model.copies.leaders())))
    followers = _follower_rows(model, max(1, body // 3))
    body -= leaders + followers + 1
    topics = topics[: max(1, body - 1)]
    listed = body - len(topics) - 8 - 4 > 1  # else the refusals have a line of their own
    body -= not listed
    shares = share_rows(body - 3, _wanted(model))
    health_rows = max(0, min(body - 3 - len(topics), 8))
    left: list[RenderableType] = [_topics_table(topics)]
    if health_rows > 0:
        left += [Text(), _health(model, screen, health_rows)]
    if listed:
        left += [Text(), *_refusal_list(model, screen, body - len(topics) - health_rows - 3)]
    right = Group(
        _signals_table(model, shares[0]),
        _orders_table(model, shares[1]),
        _positions_table(model, shares[2]),
    )
    frame = Table.grid(padding=(0, 2, 0, 0))
    frame.add_column(width=left_width)
    frame.add_column(width=right_width)
    frame.add_row(Group(*left), right)
    below = [leaders_block(model, leaders, width), followers_table(model, followers, width)]
    return Group(frame, *below, *([] if listed else [_refusals(model, screen)]))


def _wanted(model: RunModel) -> list[int]:
    """Return how many rows the lists of signals, orders and positions have."""
    return [len(model.latest_signals), len(model.orders), len(model.positions)]


def _follower_rows(model: RunModel, most: int) -> int:
    return max(1, min(len(model.copies.followers()), most))


def _head(model: RunModel, screen: Screen, width: int) -> list[RenderableType]:
    first = Text.assemble(
        (" wakeline ", "bold black on cyan"),
        f" {text.elapsed(screen.seconds)}",
        (f" (ends in {text.elapsed(screen.remaining_s)})" if screen.remaining_s is not None else "", "dim"),
        ("   log ", "dim"),
        text.log_time(model.log_ms, date=width >= 100),
        (f" x{screen.speed}", "dim"),
        ("   broker ", "dim"),
        screen.broker,
        overflow="ellipsis",
        no_wrap=True,
    )
    equity, apart = model.equity(), "  " if width >= 100 else " "
    second = Text.assemble(
        (" equity ", "dim"),
        (text.money(equity) if equity is not None else "-", "bold"),
        (f"{apart}realised ", "dim"),
        _pnl(model.realized_pnl),
        (f"{apart}open ", "dim"),
        _pnl(model.unrealized_pnl()),
        (f"{apart}fees ", "dim"),
        text.money(model.fees),
        (f"{apart}in ", "dim"),
        str(model.fills["entry"]),
        *(
            part
            for leg, short in (("stop_loss", "SL"), ("take_profit", "TP"), ("exit", "out"))
            for part in ((f" {short} ", "dim"), str(model.fills[leg]))
        ),
        overflow="ellipsis",
        no_wrap=True,
    )
    return [first, second]


def _foot(model: RunModel, screen: Screen) -> RenderableType:
    if screen.notice:
        return Text(f" {screen.notice}", style="bold yellow", overflow="ellipsis", no_wrap=True)
    if model.alerts:
        alert = model.alerts[-1]
        style = {"critical": "bold red", "warning": "yellow"}.get(alert.severity, "dim")
        return Text(f" {alert.severity} {alert.source}: {alert.text}", style=style, overflow="ellipsis", no_wrap=True)
    return Text(" Ctrl-C ends it cleanly and prints the summary", style="dim", overflow="ellipsis", no_wrap=True)


def _topic_rows(model: RunModel) -> list[tuple[str, int, float]]:
    totals, rates = model.totals(), model.rates()
    others = [name for name in sorted(totals) if name not in FLOW and not name.startswith("snapshots-")]
    names = [name for name in FLOW if name in totals or not totals]
    return [
        (name, totals.get(name, 0), rates.get(name, 0.0))
        for name in names + [name for name in others if totals[name] > 0]
    ]


def _topics_table(rows: Sequence[tuple[str, int, float]]) -> Table:
    table = _table()
    table.add_column("topic", no_wrap=True, min_width=14)
    table.add_column("records", justify="right", no_wrap=True, min_width=8)
    table.add_column("per s", justify="right", no_wrap=True, min_width=6)
    for name, total, rate in rows:
        style = "red" if name == "parked" else ""
        table.add_row(Text(name, style=style), text.count(total), text.count(round(rate, 1)))
    return table


def _health(model: RunModel, screen: Screen, rows: int) -> RenderableType:
    latency = model.latency_ms()
    lines: list[Text] = [
        Text.assemble(("latency ms    p50     p99", "bold")),
        *(
            Text.assemble(f"{stage:<9}", f"{text.latency(of['p50']):>7} {text.latency(of['p99']):>7}")
            for stage, of in latency.items()
        ),
    ]
    for child in screen.children:
        restarts = f" {child.restarts} restart{'s' if child.restarts > 1 else ''}" if child.restarts else ""
        lines.append(
            Text.assemble(
                ("● ", _STATE_STYLES.get(child.state, "red")),
                f"{child.name} {child.state}",
                (restarts, "yellow"),
                (f" {child.note}" if child.note else "", "dim"),
                overflow="ellipsis",
                no_wrap=True,
            )
        )
    if model.lag:
        lines.append(Text.assemble(("lag ", "dim"), _behind(model), overflow="ellipsis", no_wrap=True))
    return Group(*lines[: rows + 1])


def _topics_across(rows: Sequence[tuple[str, int, float]], across: int) -> RenderableType:
    """Return the topics side by side, row by row in the order of the flow."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for _ in range(across):
        table.add_column("topic", no_wrap=True, width=14)
        table.add_column("recs", justify="right", no_wrap=True, width=5)
        table.add_column("/s", justify="right", no_wrap=True, width=5)
    for start in range(0, len(rows), across):
        cells: list[str | Text] = []
        for name, total, rate in rows[start : start + across]:
            cells += [Text(name, style="red" if name == "parked" else "")]
            cells += [text.count(total), text.count(round(rate, 1))]
        table.add_row(*cells)
    return table


def _health_lines(model: RunModel, screen: Screen) -> list[RenderableType]:
    """Return latency and lag in a line, the child processes in another."""
    found = model.latency_ms().items()
    latency = "  ".join(f"{stage} {text.latency(of['p50'])}/{text.latency(of['p99'])}" for stage, of in found)
    first = Text.assemble(("latency ms p50/p99 ", "bold"), latency or "-", overflow="ellipsis", no_wrap=True)
    if model.lag:
        first.append("  lag ", style="dim").append(_behind(model))
    second = Text(overflow="ellipsis", no_wrap=True)
    for child in screen.children:
        second.append("● ", style=_STATE_STYLES.get(child.state, "red")).append(f"{child.name} {child.state}")
        if child.restarts:
            second.append(f" {child.restarts} restart{'s' if child.restarts > 1 else ''}", style="yellow")
        second.append("  ")
    return [first, second]


def _behind(model: RunModel) -> str:
    return " ".join(f"{role} {text.count(lag)}" for role, lag in model.lag.items() if lag > 0) or "none"


def _positions_line(model: RunModel) -> RenderableType:
    """Return the open positions of each instrument in sum."""
    found: dict[str, list[PositionChanged]] = {}
    for position in model.open_positions():
        found.setdefault(position.instrument, []).append(position)
    line = Text.assemble(("positions ", "bold"), overflow="ellipsis", no_wrap=True)
    for name, positions in found.items():
        size = sum((position.size for position in positions), Decimal(0))
        line.append(f"{text.instrument(name)} {text.amount(size)} in {len(positions)} ")
        line.append_text(_pnl(sum((position.unrealized_pnl for position in positions), Decimal(0)))).append("  ")
    return line if found else line.append("no open position", style="dim")


def _signals_table(model: RunModel, rows: int) -> RenderableType:
    table = _table()
    table.add_column("signals", no_wrap=True, min_width=8)
    table.add_column("instrument", no_wrap=True, min_width=9)
    table.add_column("class", no_wrap=True, min_width=10)
    table.add_column("strength", no_wrap=True, min_width=8)
    table.add_column("price", justify="right", no_wrap=True)
    table.add_column("reasons", no_wrap=True, ratio=1)
    for signal in model.latest(rows):
        table.add_row(*_signal_cells(signal))
    return _padded(table, rows, len(model.latest_signals), "no signal yet: the indicators are warming up")


def _signal_cells(signal: Signal) -> tuple[str | Text, ...]:
    return (
        text.log_time(signal.bar_end_ms),
        text.instrument(signal.instrument),
        Text(signal.signal_class.value, style=_side_style(signal.side)),
        f"{signal.strength:.2f} {signal.buy_score:g}:{signal.sell_score:g}",
        text.price(signal.price),
        Text(", ".join(_reasons(signal)), style="dim"),
    )


def _reasons(signal: Signal) -> list[str]:
    """Return the reasons for the signal's own side, "buy +2: RSI ..." shortened to "+2 RSI ..."; all, if none is."""
    prefix = f"{signal.side.value} "
    own = [reason.removeprefix(prefix).replace(": ", " ", 1) for reason in signal.reasons if reason.startswith(prefix)]
    return own or list(signal.reasons)


def _orders_table(model: RunModel, rows: int) -> RenderableType:
    table = _table()
    table.add_column("orders", no_wrap=True, min_width=8)
    table.add_column("instrument", no_wrap=True, min_width=9)
    table.add_column("side", no_wrap=True, min_width=4)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("price", justify="right", no_wrap=True)
    table.add_column("stop-loss", justify="right", no_wrap=True)
    table.add_column("take-profit", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True, ratio=1)
    for row in model.latest_orders(rows):
        table.add_row(*_order_cells(row))
    return _padded(table, rows, len(model.orders), "no order yet")


def _order_cells(row: OrderRow) -> tuple[str | Text, ...]:
    order, protection = row.order, row.order.protection
    state: str | Text = row.state
    if row.closed_by:
        state = Text.assemble(f"{row.closed_by} ", _pnl(row.realized_pnl))
    elif row.state in ("rejected", "unknown", "expired"):
        state = Text(row.state, style="red")
    return (
        text.log_time(order.now_ms),
        text.instrument(order.instrument),
        Text(order.side.value if order.leg.value == "entry" else order.leg.value, style=_side_style(order.side)),
        text.amount(order.size),
        text.price(row.average_price if row.average_price is not None else order.reference_price),
        text.price(protection.stop_loss if protection is not None else None),
        text.price(protection.take_profit if protection is not None else None),
        state,
    )


def _positions_table(model: RunModel, rows: int) -> RenderableType:
    table = _table()
    table.add_column("positions", no_wrap=True, min_width=9)
    table.add_column("subscription", no_wrap=True, ratio=1)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("entry", justify="right", no_wrap=True)
    table.add_column("mark", justify="right", no_wrap=True)
    table.add_column("unrealised", justify="right", no_wrap=True)
    table.add_column("realised", justify="right", no_wrap=True)
    positions = model.open_positions()
    shown = positions if len(positions) <= rows else positions[: max(0, rows - 1)]
    for position in shown:
        table.add_row(*_position_cells(position))
    if len(shown) < len(positions) and rows > 0:
        table.add_row("", Text(f"and {len(positions) - len(shown)} more", style="dim"))
    return _padded(table, rows, len(positions), "no open position")


def _position_cells(position: PositionChanged) -> tuple[str | Text, ...]:
    return (
        text.instrument(position.instrument),
        position.subscription,
        text.amount(position.size),
        text.price(position.entry_price),
        text.price(position.mark_price),
        _pnl(position.unrealized_pnl),
        _pnl(position.realized_pnl),
    )


def _refusals(model: RunModel, screen: Screen) -> RenderableType:
    parts = [f"{reason} {number}" for reason, number in model.refused.most_common()] or ["none"]
    line = Text.assemble(("refused ", "bold"), ", ".join(parts), overflow="ellipsis", no_wrap=True)
    if model.parked or model.unreadable:
        bad = model.parked + model.unreadable
        line = Text.assemble((f"parked {bad}  ", "bold red"), line, overflow="ellipsis", no_wrap=True)
    return line


def _refusal_list(model: RunModel, screen: Screen, rows: int) -> list[RenderableType]:
    lines: list[Text] = [Text("refused", style="bold")]
    lines += [Text(f"{reason:<24}{number:>8}") for reason, number in model.refused.most_common()]
    if not model.refused:
        lines.append(Text("none", style="dim"))
    if model.parked or model.unreadable:
        lines.insert(1, Text(f"{'parked or unreadable':<24}{model.parked + model.unreadable:>8}", style="bold red"))
    lines += [Text(entry, style="dim", overflow="ellipsis", no_wrap=True) for entry in screen.recent[::-1]]
    return list(lines[:rows])


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="bold", pad_edge=False)


def _padded(table: Table, rows: int, filled: int, nothing: str) -> RenderableType:
    """Keep the table `rows` high, so that the sections below do not jump."""
    below = [Text() for _ in range(rows - min(rows, filled))]
    if filled == 0 and below:
        below[0] = Text(nothing, style="dim", overflow="ellipsis", no_wrap=True)
    return Group(table, *below)


def _pnl(value: Decimal) -> Text:
    return Text(text.money(value, signed=True), style="green" if value > 0 else "red" if value < 0 else "")


def _side_style(side: Side) -> str:
    return "green" if side is Side.BUY else "red"
