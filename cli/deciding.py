"""What the commands that decide have in common: the store, the time, waiting for the relay, settings from `--set`.

Entry points: `Desk` (the store of a data folder), `changes_of` (`--set`), `add_move`, `json_option`, `table`.

A decision is committed before the command says so; it reaches the broker through the relay of the role `outbox`.
"""

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, parse_assignment, place_options

if TYPE_CHECKING:
    from streams.decisions import DecisionStore, Taken
    from streams.settings import Settings

WAIT_S = 5.0
_AGAIN_S = 0.03

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
set_option: Callable[[Any], Any] = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set a setting, e.g. stop_loss.fraction=0.02."
)
unset_option: Callable[[Any], Any] = click.option(
    "--unset", multiple=True, metavar="KEY", help="Say nothing about a setting any more: it is inherited."
)


class Desk:
    """The decisions of a data folder; `with Desk(chosen) as desk`."""

    def __init__(self, chosen: Chosen) -> None:
        self.settings: Settings = chosen.load()
        self.store: DecisionStore

    def __enter__(self) -> "Desk":
        from sqlalchemy.exc import SQLAlchemyError

        from streams.decisions import open_decisions
        from streams.topics_admin import load_catalogue

        try:
            self.store = open_decisions(self.settings, load_catalogue())
        except SQLAlchemyError as error:
            what = f"the decisions of {self.settings.data_dir} cannot be opened: {str(error).splitlines()[0]}"
            raise Failure(ExitCode.FAILURE, what, "See execution.store and --data") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def now_ms(self) -> int:
        """Return log time; 0 where no run has set it yet (the first start does, see DecisionStore.decide)."""
        from streams.timebase import FILE_NAME, TimeBase

        if (self.settings.data_dir / FILE_NAME).exists():
            return TimeBase.load(self.settings.data_dir).now_ms()
        return TimeBase.live().now_ms() if self._elsewhere() else 0

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Turn a refused decision into a failure that names every field."""
        from streams.decisions import DecisionError

        try:
            yield
        except DecisionError as error:
            what = "refused, nothing was changed: " + "; ".join(map(str, error.problems))
            known = self.store.known()
            mend = "" if known.accounts else "No decision was taken here yet: start `wakeline up` once, or name --data"
            raise Failure(ExitCode.USAGE, what, mend) from error

    def tell(self, taken: "Taken", text: str, as_json: bool, **more: Any) -> None:
        """Wait until the decision reached the broker, and say what became of it."""
        sent = self._wait(taken)
        if as_json:
            answer = {"decision": taken.number, "status": taken.status, "sent": sent, **more}
            click.echo(json.dumps(answer, default=str))
            return
        if taken.status == "unchanged":
            click.echo(f"{text}: it is so already")
        elif taken.status == "exists":
            click.echo(f"{text}: this request was taken before, as decision {taken.number}")
        elif sent:
            click.echo(f"{text}: decision {taken.number}, on the log")
        else:
            click.echo(f"{text}: decision {taken.number}, committed; {self._why_unsent()}")

    def _wait(self, taken: "Taken") -> bool:
        if taken.number is None:
            return True
        limit_s = time.monotonic() + WAIT_S
        while not self.store.is_sent(taken.number):
            if time.monotonic() > limit_s or not (self._relay_runs() or self._elsewhere()):
                return self.store.is_sent(taken.number)
            time.sleep(_AGAIN_S)
        return True

    def _why_unsent(self) -> str:
        if self._relay_runs() or self._elsewhere():
            return f"it has not reached the broker within {WAIT_S:.0f} s: look at the worker with the role outbox"
        return f"nothing runs on {self.settings.data_dir}, so it is sent at the next start"

    def _relay_runs(self) -> bool:
        from streams import runtime

        return any("outbox" in process.roles for process in runtime.processes(self.settings.data_dir.absolute()))

    def _elsewhere(self) -> bool:
        """Whether the store is a server's, whose relay may run on another machine."""
        dsn = self.settings.execution.store
        return dsn is not None and not dsn.startswith("sqlite")


def add_move(group: click.Group, thing: Literal["leader", "subscription"], event: str, done: str, words: str) -> None:
    """Add the command `event` to `group`: it moves the life cycle of the leader or subscription it is given."""

    @group.command(event, help=words)
    @click.argument("name")
    @json_option
    @place_options
    def move(name: str, as_json: bool, chosen: Chosen) -> None:
        with Desk(chosen) as desk, desk.refusing():
            taken = desk.store.move(thing, name, event, desk.now_ms())
            desk.tell(taken, f"{thing} {name} {done}", as_json, **{thing: name})


def changes_of(
    assignments: Sequence[str], own: Mapping[str, Any], inherited: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the settings that KEY=VALUE texts change, each whole: a dotted key changes a part of what holds.

    own: what is said now; inherited: what holds where nothing is said.
    """
    changed: dict[str, Any] = {}
    for text in assignments:
        path, value = parse_assignment(text)
        first, *rest = path.split(".")
        if not rest:
            changed[first] = value
            continue
        if first not in changed:
            before = own.get(first, (inherited or {}).get(first))
            changed[first] = copy.deepcopy(before) if isinstance(before, dict) else {}
        below = changed[first]
        for key in rest[:-1]:
            if not isinstance(below.get(key), dict):
                below[key] = {}
            below = below[key]
        below[rest[-1]] = value
    return changed


def new_id() -> str:
    """Return an id for a command."""
    import secrets

    return secrets.token_hex(16)


def table(rows: Sequence[Sequence[Any]], titles: Sequence[str]) -> str:
    """Return rows in columns under their titles."""
    texts = [[str(title) for title in titles], *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(titles))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in texts
    )


def as_text(value: Any) -> str:
    """Return a setting on one line."""
    if isinstance(value, str):
        return value
    return "off" if value is None else json.dumps(value, default=str)
