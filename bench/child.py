"""A benchmark's children: contenders and the benches themselves, each in a process of its own.

Entry points: `run_json`, `start`, `stop`, `result_of`, `ChildFailed`. A child prints its result as one JSON object
on the last line of its standard output.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class ChildFailed(RuntimeError):
    """A child ended with an error, or without a result."""


def start(module: str, arguments: Sequence[str]) -> "subprocess.Popen[str]":
    """Start `python -m module arguments`."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(child: "subprocess.Popen[str]", module: str, timeout_s: float) -> dict[str, Any]:
    """Wait for a child's end and return what it measured.

    Raises:
        ChildFailed: it did not end in time (then it is killed), failed, or told no result; with its last lines.
    """
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        raise ChildFailed(f"{module} did not end within {timeout_s:.0f} s:\n{_tail(err)}") from None
    lines = out.strip().splitlines()
    if child.returncode != 0 or not lines:
        raise ChildFailed(f"{module} ended with code {child.returncode}:\n{_tail(err)}")
    try:
        result: dict[str, Any] = json.loads(lines[-1])
    except ValueError:
        raise ChildFailed(f"{module} told no result:\n{_tail(out + err)}") from None
    return result


def run_json(module: str, arguments: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """Run a child to its end and return its result; raises ChildFailed."""
    child = start(module, arguments)
    try:
        return result_of(child, module, timeout_s)
    finally:
        stop(child)


def stop(child: "subprocess.Popen[str]", timeout_s: float = 15.0) -> None:
    """End a child that may still run."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
