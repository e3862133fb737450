"""Shows a run: the live view in a terminal, plain lines every few seconds without one.

Entry point: `Show`. All of it goes to stderr; stdout is for the summary.
"""

import collections
import sys
import time
from collections.abc import Callable

from cli.console import Steps
from cli.live import text
from cli.live.copies import ENDED
from cli.live.model import RunModel
from cli.live.render import Screen, render
from cli.live.words import last_reason

DRAW_INTERVAL_S = 0.5
LINE_INTERVAL_S = 5.0
_EVENTS_KEPT = 20


class Show:
    """Draws at most twice a second, whoever calls however often."""

    def __init__(self, wanted: bool, steps: Steps) -> None:
        self.live = wanted and sys.stderr.isatty()
        self._steps = steps
        self._events: collections.deque[str] = collections.deque(maxlen=_EVENTS_KEPT)
        self._next_s = 0.0 if self.live else time.monotonic() + LINE_INTERVAL_S
        self._notice = ""
        self._live_view: object | None = None

    def event(self, line: str) -> None:
        """Tell something that happened: in the view's list, or as a line."""
        if self._live_view is None:
            self._steps.say(line)
        else:
            self._events.append(f"{time.strftime('%H:%M:%S')} {line}")

    def draw(self, model: RunModel, screen: Callable[[tuple[str, ...]], Screen]) -> None:
        """Show the state, if it is time to; `screen` is called with the latest events only then."""
        now_s = time.monotonic()
        current = screen(tuple(self._events)) if now_s >= self._next_s else None
        if current is None:
            return
        self._next_s = now_s + (DRAW_INTERVAL_S if self.live else LINE_INTERVAL_S)
        if self.live:
            self._refresh(model, current)
        else:
            for line in plain_lines(model, current):
                self._steps.say(line)

    def close(self) -> None:
        """Give the terminal back, and repeat there what was told in the view."""
        if self._live_view is None:
            return
        self._live_view.stop()  # type: ignore[attr-defined]
        self._live_view = None
        for line in self._events:
            self._steps.say(line)

    def _refresh(self, model: RunModel, screen: Screen) -> None:
        from rich.console import Console
        from rich.live import Live

        if self._live_view is None:
            console = Console(stderr=True)
            self._live_view = Live(
                console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live_view.start()
        live = self._live_view
        assert isinstance(live, Live)
        size = live.console.size
        live.update(render(model, screen, size.width, size.height), refresh=True)


def plain_lines(model: RunModel, screen: Screen) -> list[str]:
    """Return the state as a few lines of a log."""
    rates = {topic: rate for topic, rate in model.rates().items() if rate > 0 and not topic.startswith("snapshots-")}
    busiest = sorted(rates.items(), key=lambda item: -item[1])[:4]
    legs = model.fills
    lines = [
        f"log {text.log_time(model.log_ms)}"
        f" | per s: {', '.join(f'{topic} {text.count(round(rate, 1))}' for topic, rate in busiest) or 'nothing'}"
        f" | signals buy {model.signals['buy']} sell {model.signals['sell']}"
        f" | orders {model.order_count}, fills in {legs['entry']} SL {legs['stop_loss']} TP {legs['take_profit']}"
        f" out {legs['exit']}, refused {sum(model.refused.values())}"
        f" | realised {text.money(model.realized_pnl, signed=True)}"
        f" open {text.money(model.unrealized_pnl(), signed=True)}"
    ]
    lines += copies_line(model)
    tail = []
    if model.lag:
        tail.append("lag " + " ".join(f"{role} {text.count(lag)}" for role, lag in model.lag.items()))
    latency = model.latency_ms()
    if latency:
        tail.append("p50/p99 ms " + " ".join(f"{name} {of['p50']:g}/{of['p99']:g}" for name, of in latency.items()))
    if model.parked or model.unreadable:
        tail.append(f"PARKED {model.parked + model.unreadable}")
    if model.latest_signals:
        last = model.latest_signals[-1]
        tail.append(f"last signal {last.signal_class.value} {text.instrument(last.instrument)} {last.strength:.2f}")
    unwell = [f"{child.name} {child.state}" for child in screen.children if child.state != "running"]
    if unwell:
        tail.append(", ".join(unwell))
    if tail:
        lines.append("    " + " | ".join(tail))
    return lines


def copies_line(model: RunModel) -> list[str]:
    """Return what became of leaders' events as one line; none before somebody follows."""
    copies = model.copies
    followers = copies.followers()
    if not followers:
        return []
    halted = sum(row.halted for row in followers)
    events, blocked = (sum(getattr(row, name) for row in copies.leaders()) for name in ("events", "blocked"))
    line = (
        f"    copies {' '.join(f'{state} {copies.outcomes[state]}' for state in ENDED)} pending {copies.pending}"
        f" | leader events {events}{f', blocked {blocked}' if blocked else ''}"
        f" | followers {sum(row.following for row in followers)}{f', HALTED {halted}' if halted else ''}"
    )
    explained = [(row.why.now_ms, index) for index, row in enumerate(followers) if row.why is not None]
    if not explained:
        return [line]
    latest = followers[max(explained)[1]]
    return [f"{line} | last reason {latest.subscription}: {last_reason(latest)}"]
