"""The real `wakeline` with tests/cli/fake_worker.py in place of its workers."""

import sys

from cli import session
from cli.main import main

real_command = session.worker_command


def fake_command(*arguments: object) -> list[str]:
    command = real_command(*arguments)  # type: ignore[arg-type]
    return [sys.executable, "-m", "tests.cli.fake_worker", *command[4:]]


session.worker_command = fake_command  # type: ignore[assignment]
main()
