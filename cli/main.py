"""The command `wakeline`.

Entry points: `main` (what the installed program runs), `cli` (the click tree; docs and tests walk it).

1. Nothing slow is imported at the top of any module of `cli/`: `wakeline --help` answers at once.
2. Errors of the world become one line and an exit code here (`exit_codes.as_failure`); a traceback is a bug.
"""

import sys
from typing import Any

import click

from cli.commands.broker import broker
from cli.commands.completion import completion
from cli.commands.config import config
from cli.commands.doctor import doctor
from cli.commands.follow import follow
from cli.commands.halts import halts
from cli.commands.leaders import leaders
from cli.commands.outcomes import outcomes
from cli.commands.pause import deposit, pause
from cli.commands.query import query
from cli.commands.statistics import statistics
from cli.commands.tail import tail
from cli.commands.topics import topics
from cli.commands.up import down, up
from cli.commands.version import version
from cli.commands.worker import worker
from cli.exit_codes import MEANINGS, ExitCode, as_failure

_CODES = "\b\nExit codes:\n" + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())


class _Wakeline(click.Group):
    """Turns known errors into failures, and a closed pipe into a quiet end, for all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which one meets them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(int(ExitCode.FORCED)) from None
        except Exception as error:
            failure = as_failure(error)
            if failure is None:
                raise
            raise failure from error


@click.group(cls=_Wakeline, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_CODES)
def cli() -> None:
    """Trading and copy-trading on one log.

    `wakeline up` runs everything on this machine; the other commands look at it, or run its parts alone.
    """


for _command in (
    *(up, down, worker, leaders, follow, outcomes, halts, pause, deposit),
    *(topics, tail, query, statistics, config, doctor, broker, version, completion),
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        cli(prog_name="wakeline")
    except BrokenPipeError:
        # What reads our output has gone (`| head`): nobody is left to tell. Keep Python from flushing once more.
        sys.stdout = None  # type: ignore[assignment]
        sys.exit(int(ExitCode.OK))


if __name__ == "__main__":
    main()
