"""Log time: the one time base of a data folder, kept in its `timebase.json`.

Entry points: `TimeBase.open` (whoever starts a run), `TimeBase.load` (every other process of that run),
`TimeBase.start`, `TimeBase.now_ms`, `TimeBase.wall_s`, `check_live_clock`.

1. One data folder, one time: its kind and its feed are written down once; another one is refused by name.
2. live: log time is wall time. replayed: log time = log origin + (wall - wall origin) x speed. Speed "max" (None):
   log time is the largest time published; the feed and every reader tell what they saw through `observe`.
3. Between runs log time stands still: a later run begins where the log ended (`tail_ms`), also when its speed differs.
   It stands until `start` too, so that what takes seconds to start does not find itself behind the market.
4. Other processes see within a second (while it stands: at once) that the file was written anew: the feed may end and
   come back, at another speed, while they run on.
5. Within a process `now_ms` never falls, whatever the wall clock or the file does.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

FILE_NAME: Final = "timebase.json"
MAX_LIVE_DRIFT_MS: Final = 2_000
_LOOK_S: Final = 1.0  # how often the file is looked at while log time runs

Kind = Literal["live", "replayed"]


class TimeBaseError(RuntimeError):
    """The data folder's time base cannot be used as asked; the text says why and how to mend it."""


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What timebase.json holds. Times are milliseconds since the epoch; `speed` null is max, `wall_origin_ms` null
    means that log time has not started yet.

    `feed_origin_ms` is the log time of the feed's first record: it never changes, so a feed's times are shifted alike
    in every run. `position` and `position_ms`: how far the feed had come when it last wrote that down here, for the
    day when the log's own tail has been deleted by retention.
    """

    version: int
    kind: Kind
    feed: str
    feed_origin_ms: int
    log_origin_ms: int
    wall_origin_ms: int | None
    speed: float | None
    position: int = -1
    position_ms: int = 0


class TimeBase:
    """Log time of one data folder; see the module's invariants."""

    def __init__(self, path: Path, state: _File, wall: Callable[[], float]) -> None:
        self.path = path
        self._state = state
        self._wall = wall
        self._seen_ms = state.log_origin_ms if state.kind == "replayed" else 0
        self._looked_s = wall()
        self._written_ns = _written(path)

    @classmethod
    def open(
        cls,
        data_dir: Path | str,
        kind: Kind,
        log_origin_ms: int | None = None,
        speed: float | None = 1.0,
        tail_ms: int | None = None,
        *,
        feed: str = "",
        started: bool = True,
        wall: Callable[[], float] = time.time,
    ) -> "TimeBase":
        """Begin a run: make the time base of `data_dir`, or go on in it. Once per run; other processes `load`.

        Args:
            log_origin_ms: log time of a new time base's beginning (default: wall time). An old one ignores it.
            speed: None for "max". `live` knows only 1.
            tail_ms: largest `now_ms` in the log, if it holds any; log time goes on from there.
                Read from every topic that is stamped with it (streams.feeds.publisher.open_timebase does).
            feed: identity of the feed whose times these are.
            started: False: replayed time stands at its origin until `start`.

        Raises:
            TimeBaseError: other kind or feed than the folder's, a log without its time base, an unreadable file.
        """
        if speed is not None and not 0 < speed < float("inf"):
            raise TimeBaseError(f"speed must be a number above zero or max, not {speed}")
        if kind == "live" and speed != 1.0:
            raise TimeBaseError(f"a live feed runs at speed 1, not {'max' if speed is None else speed}")
        path = Path(data_dir) / FILE_NAME
        wall_ms = round(wall() * 1000)
        if path.exists():
            state = _read(path)
            _same_time(path, state, kind, feed)
            if kind == "replayed":
                state.log_origin_ms = max(filter(None, (tail_ms, state.position_ms)), default=state.feed_origin_ms)
                state.wall_origin_ms = wall_ms if started else None
                state.speed = speed
        else:
            if tail_ms is not None and kind == "replayed":
                raise TimeBaseError(
                    f"the log holds records up to {_utc(tail_ms)}, but {path} is missing, so their time base is not "
                    "known: put the file back, or start afresh with --reset or another data folder and broker"
                )
            origin = wall_ms if log_origin_ms is None or kind == "live" else log_origin_ms
            state = _File(
                version=1,
                kind=kind,
                feed=feed,
                feed_origin_ms=origin,
                log_origin_ms=origin,
                wall_origin_ms=wall_ms if started or kind == "live" else None,
                speed=speed,
            )
        base = cls(path, state, wall)
        base._write()
        return base

    @classmethod
    def load(cls, data_dir: Path | str, *, wall: Callable[[], float] = time.time) -> "TimeBase":
        """Return the time base that the start of this run wrote.

        Raises:
            TimeBaseError: there is none, or it cannot be read.
        """
        path = Path(data_dir) / FILE_NAME
        if not path.exists():
            raise TimeBaseError(f"{path} is missing: start the feed (or `wakeline up`) with this data folder first")
        return cls(path, _read(path), wall)

    @classmethod
    def live(cls, *, wall: Callable[[], float] = time.time) -> "TimeBase":
        """Return wall time, for a process that has no data folder in common with the feed (a cluster's worker)."""
        wall_ms = round(wall() * 1000)
        state = _File(
            version=1,
            kind="live",
            feed="",
            feed_origin_ms=wall_ms,
            log_origin_ms=wall_ms,
            wall_origin_ms=wall_ms,
            speed=1.0,
        )
        return cls(Path(os.devnull), state, wall)

    @property
    def kind(self) -> Kind:
        """live or replayed."""
        return self._state.kind

    @property
    def feed(self) -> str:
        """Identity of the feed whose times these are."""
        return self._state.feed

    @property
    def speed(self) -> float | None:
        """Log time per wall time; None is "max"."""
        return self._state.speed

    @property
    def feed_origin_ms(self) -> int:
        """Log time of the feed's first record, the same in every run."""
        return self._state.feed_origin_ms

    @property
    def progress(self) -> tuple[int, int]:
        """Position and log time that `save_progress` wrote last; (-1, 0) if never."""
        return self._state.position, self._state.position_ms

    def start(self) -> None:
        """Let log time run from where it stands; nothing if it runs already. The feed calls it when it has a record."""
        if self._state.wall_origin_ms is None:
            self._state.wall_origin_ms = round(self._wall() * 1000)
            self._write()

    def now_ms(self) -> int:
        """Return log time in milliseconds since the epoch; it never falls within a process."""
        wall = self._wall()
        if self._state.kind == "live":
            now = int(wall * 1000)
        else:
            self._look(wall)
            state = self._state
            if state.speed is None or state.wall_origin_ms is None:
                return self._seen_ms
            now = state.log_origin_ms + int((wall * 1000 - state.wall_origin_ms) * state.speed)
        if now > self._seen_ms:
            self._seen_ms = now
        return self._seen_ms

    def _look(self, wall: float) -> None:
        """Take over what another process wrote into the file; one that is gone or unreadable is left for its opener."""
        if self._state.wall_origin_ms is not None and abs(wall - self._looked_s) < _LOOK_S:
            return
        self._looked_s = wall
        written_ns = _written(self.path)
        if written_ns in (0, self._written_ns):
            return
        self._written_ns = written_ns
        try:
            state = _read(self.path)
        except TimeBaseError:
            return
        if (state.kind, state.feed, state.feed_origin_ms) == (
            self._state.kind,
            self._state.feed,
            self._state.feed_origin_ms,
        ):
            self._state = state
            self._seen_ms = max(self._seen_ms, state.log_origin_ms)

    def observe(self, now_ms: int) -> None:
        """Tell the largest `now_ms` published or read; moves replayed time forward, never live time."""
        if now_ms > self._seen_ms and self._state.kind == "replayed":
            self._seen_ms = now_ms

    def wall_s(self, now_ms: int) -> float:
        """Return the wall time (seconds since the epoch) at which log time is `now_ms`.

        Minus infinity at "max": it has come; infinity for a later time while log time stands.
        """
        state = self._state
        if state.kind == "live":
            return now_ms / 1000
        if state.speed is None:
            return float("-inf")
        if state.wall_origin_ms is None:
            return float("inf") if now_ms > self._seen_ms else float("-inf")
        return (state.wall_origin_ms + (now_ms - state.log_origin_ms) / state.speed) / 1000

    def seconds_until(self, now_ms: int) -> float:
        """Return how much wall time passes until log time is `now_ms`; zero or less when it has come."""
        return self.wall_s(now_ms) - self._wall()

    def save_progress(self, position: int, now_ms: int) -> None:
        """Write down how far the feed has come (only the feed calls this)."""
        self._state.position = position
        self._state.position_ms = now_ms
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self._state), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.path)
        self._written_ns = _written(self.path)


def check_live_clock(broker_ms: int, wall_ms: int | None = None) -> None:
    """End a live stamper whose clock is more than 2 s off the broker's.

    Args:
        broker_ms: the broker's time, milliseconds since the epoch.
        wall_ms: this machine's time at that moment (default: now).

    Raises:
        TimeBaseError: the clocks differ by more than `MAX_LIVE_DRIFT_MS`.
    """
    own_ms = round(time.time() * 1000) if wall_ms is None else wall_ms
    drift_ms = own_ms - broker_ms
    if abs(drift_ms) > MAX_LIVE_DRIFT_MS:
        raise TimeBaseError(
            f"this machine's clock is {abs(drift_ms)} ms {'ahead of' if drift_ms > 0 else 'behind'} the broker's "
            f"(at most {MAX_LIVE_DRIFT_MS} ms): synchronise both with NTP, then start again"
        )


def _same_time(path: Path, state: _File, kind: Kind, feed: str) -> None:
    if state.kind != kind or (kind == "replayed" and state.feed != feed):
        held = f"{state.kind} time" + (f" of feed {state.feed}" if state.feed else "")
        asked = f"{kind} time" + (f" of feed {feed}" if feed else "")
        raise TimeBaseError(
            f"{path.parent} holds {held}, and this start asks for {asked}; one data folder has one time: "
            "start afresh with --reset, or use another data folder"
        )


def _read(path: Path) -> _File:
    try:
        state: _File = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError) as error:
        raise TimeBaseError(f"{path} cannot be read ({error}): put it back, or start afresh with --reset") from error
    if state.version != 1:
        raise TimeBaseError(f"{path} has version {state.version}, this build knows 1: upgrade, or use --reset")
    return state


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _utc(now_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_ms / 1000))
