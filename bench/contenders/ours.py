"""Ours: the strategy role as `wakeline worker --roles strategy` runs it, with its snapshots, commits and metrics.

The worker is streams.worker's own; only the clock is put around its handler. The snapshot that closes the run is
counted, so that the state's price is in the figure however short the run is. Waiting for more records at the end is
counted in no one's wall time.
"""

import os
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any

from bench.contenders import arguments, report
from bench.machine import CpuClock
from bench.work import PARAMS
from streams import worker
from streams.settings import Settings
from streams.shell import ProcessorHandler


class Watch:
    """Stands around a handler: starts the clock when its partitions are loaded, ends the run after the last tick."""

    def __init__(self, ticks: int) -> None:
        self.ticks, self.applied = ticks, 0
        self.clock, self.used, self.wall_s = CpuClock(), (0.0, 0.0), 0.0
        self.signals = 0

    def install(self) -> None:
        """Put the clock around ProcessorHandler's assign, apply and close."""
        assign, apply, close = ProcessorHandler.assign, ProcessorHandler.apply, ProcessorHandler.close

        async def timed_assign(handler: Any, tps: Any) -> None:
            await assign(handler, tps)
            self.clock.restart()

        async def timed_apply(handler: Any, tp: Any, batch: Any) -> None:
            await apply(handler, tp, batch)
            self.applied += len(batch)
            if self.applied == self.ticks:
                self.wall_s = self.clock.read()[1]
                os.kill(os.getpid(), signal.SIGTERM)

        async def timed_close(handler: Any, clean: bool) -> None:
            began = time.perf_counter()
            await close(handler, clean)
            self.used = (self.clock.read()[0], self.wall_s + time.perf_counter() - began)

        ProcessorHandler.assign = timed_assign  # type: ignore[method-assign]
        ProcessorHandler.apply = timed_apply  # type: ignore[method-assign]
        ProcessorHandler.close = timed_close  # type: ignore[method-assign]


class Sampler(threading.Thread):
    """Looks every millisecond what each thread is doing: {thread: {function: share of the samples}}."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own: dict[str, Counter[str]] = {}
        self.under: dict[str, Counter[str]] = {}

    def run(self) -> None:
        """Sample until the process ends."""
        while True:
            time.sleep(0.001)
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident == self.ident:
                    continue
                name, seen, top = names.get(ident, "?"), set(), True
                walked: Any = frame
                while walked is not None:
                    code = walked.f_code
                    place = f"{code.co_filename.rpartition('/')[2]}:{code.co_name}:{walked.f_lineno if top else ''}"
                    if top:
                        self.own.setdefault(name, Counter())[place] += 1
                        top = False
                    if place not in seen:
                        seen.add(place)
                        self.under.setdefault(name, Counter())[place] += 1
                    walked = walked.f_back


def main() -> int:
    """Run the worker until it has applied every tick."""
    given = arguments()
    settings = Settings.model_validate(
        {"data_dir": given.folder, "broker": {"bootstrap": given.bootstrap}, "strategies": [PARAMS.model_dump()]}
    )
    watch = Watch(given.ticks)
    watch.install()
    sampler = Sampler()
    if given.profile:
        sampler.start()
    failure = worker.run(settings, ("strategy",), "bench")
    if failure is not None or given.ticks not in (0, watch.applied):
        print(f"ended after {watch.applied} of {given.ticks} ticks: {failure!r}", file=sys.stderr)
        return 1
    more = {"own": _top(sampler.own), "under": _top(sampler.under)} if given.profile else {}
    report(watch.applied, 0, watch.used, **more)
    return 0


def _top(counts: dict[str, Counter[str]]) -> dict[str, list[tuple[str, int]]]:
    return {name: found.most_common(40) for name, found in counts.items()}


if __name__ == "__main__":
    sys.exit(main())
