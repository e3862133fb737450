"""Child processes of `wakeline up`: started, watched, started again, ended.

Entry point: `Supervised`.

1. A child that ends without being asked is started again after a pause that doubles, up to a limit of starts within a
   minute; then `failed` holds why, and the caller gives up.
2. An end that starting again cannot mend (wrong configuration, wrong topics, another build's state) fails at once.
3. Children have process groups of their own: Ctrl-C reaches the parent alone, which ends them in order.
"""

import asyncio
import collections
import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cli.exit_codes import ExitCode, Failure

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
LIMIT_STARTS = 5
LIMIT_WINDOW_S = 60.0
_LOG_BYTES_MAX = 16 * 1024 * 1024
_HOPELESS = {ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.TOPICS, ExitCode.DISK_FULL, ExitCode.VERSION}
_TAIL_BYTES = 16 * 1024
# Time, level and logger of the worker's log, and what its last line begins with: the parent says both itself.
_LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:,.]+ [A-Z]+ [\w.]+: (worker \S+ ended: )?")


class Supervised:
    """One child; its output goes to `log_file`, `tell` gets a line for everything that happens to it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_file: Path,
        tell: Callable[[str], None],
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.failed: Failure | None = None
        self._command = list(command)
        self._log_file = log_file
        self._tell = tell
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._starts: collections.deque[float] = collections.deque(maxlen=LIMIT_STARTS)

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None between two lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keep the child running until `stop`; returns then, or when it has `failed`."""
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            started_s = time.monotonic()
            self._starts.append(started_s)
            process = await self._start()
            code = await process.wait()
            if self._stopping:
                return
            what = f"worker {self.name} {_how_it_ended(code)}"
            if code in _HOPELESS:
                self.failed = Failure(ExitCode(code), f"{what}: {self.last_line()}", f"Its log is {self._log_file}")
                return
            ended_s = time.monotonic()
            if len(self._starts) == LIMIT_STARTS and ended_s - self._starts[0] < LIMIT_WINDOW_S:
                self.failed = Failure(
                    ExitCode.WORKER,
                    f"{what}, the {LIMIT_STARTS}th time within a minute: {self.last_line()}",
                    f"Its log is {self._log_file}",
                )
                return
            pause_s = FIRST_PAUSE_S if ended_s - started_s > LIMIT_WINDOW_S else pause_s
            self._tell(f"{what}: {self.last_line()}; starting it again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            self.restarts += 1

    async def stop(self, timeout_s: float) -> bool:
        """Ask the child to end, kill it after `timeout_s`; return whether it ended by itself."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(process.wait()), timeout_s)
        except TimeoutError:
            self._tell(f"worker {self.name} did not end within {timeout_s:.1f} s and was killed")
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        """End the child at once."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def last_line(self) -> str:
        """Return the last line of the child's log that says something (that of a traceback is its error)."""
        try:
            with self._log_file.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError as error:
            return f"no log ({error.strerror})"
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return _LOG_PREFIX.sub("", last)

    async def _start(self) -> asyncio.subprocess.Process:
        with contextlib.suppress(FileNotFoundError):
            if self._log_file.stat().st_size > _LOG_BYTES_MAX:
                os.replace(self._log_file, self._log_file.with_suffix(".log.1"))
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                process_group=0,
            )
        return self._process


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
