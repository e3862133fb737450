"""`wakeline up` and `wakeline down`."""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, Duration, Speed, settings_options
from cli.reset import existing

if TYPE_CHECKING:
    from streams.settings import Settings

_DOWN_LIMIT_S = 15.0


@click.command(short_help="Run everything on this machine.")
@click.option("--for", "for_s", type=Duration(), help="End by itself after this long, e.g. 60s, counted once all runs.")
@click.option("--summary", type=click.Choice(["text", "json"]), default="text", help="How the run is summed up.")
@click.option("--feed", metavar="recording|simulated|FILE", help="Market data: built in, made up, or from a file.")
@click.option("--speed", type=Speed(), help="Factor on the feed's own time, or max.")
@click.option("--symbols", "--instruments", type=click.IntRange(1), help="Simulated feed: number of instruments.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Simulated feed: records per second of log time.")
@click.option("--seed", type=int, help="Simulated feed: seed.")
@click.option("--reset", is_flag=True, help="Begin with an empty data folder: delete what earlier runs left there.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option("--no-view", is_flag=True, help="Plain log lines, also in a terminal.")
@settings_options
def up(
    for_s: float | None,
    summary: str,
    feed: str | None,
    speed: float | str | None,
    symbols: int | None,
    rate: float | None,
    seed: int | None,
    reset: bool,
    yes: bool,
    no_view: bool,
    chosen: Chosen,
) -> None:
    """Run everything on this machine, from market data to ClickHouse.

    Starts Apache Kafka, makes the topics, runs all roles, and shows what happens. Ctrl-C, `wakeline down` or --for
    end it in order, with a summary; a second Ctrl-C ends it at once. In a pipe, plain lines go to stderr and only
    the summary to stdout.
    """
    settings = chosen.load(feed_overrides(feed, speed, symbols, rate, seed))
    settings = settings.model_copy(update={"data_dir": settings.data_dir.absolute()})
    check_ports(settings)
    check_feed(settings)
    if reset:
        confirm_reset(settings, yes)
    code = _run(settings, for_s, summary, view=not no_view, reset=reset)
    sys.exit(int(code))


def _run(settings: "Settings", for_s: float | None, summary: str, *, view: bool, reset: bool) -> ExitCode:
    import asyncio

    from cli.console import Steps
    from cli.session import Options, Session
    from cli.summary import as_json_line, as_text
    from streams import runtime

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with runtime.FolderLock(settings.data_dir):
        runtime.announce(settings.data_dir, "up")
        steps = Steps()
        session = Session(settings, Options(for_s, view, reset), steps)
        asyncio.run(session.run())
    if session.summary is not None:
        if summary == "json":
            click.echo(as_text(session.summary, session.model), err=True)
            click.echo(as_json_line(session.summary))
        else:
            click.echo(as_text(session.summary, session.model))
    if session.failure is not None:
        raise session.failure
    return ExitCode.FORCED if session.forced else ExitCode.OK


def feed_overrides(
    feed: str | None, speed: float | str | None, symbols: int | None, rate: float | None, seed: int | None
) -> dict[str, Any]:
    """Return the options about the feed by their path in the configuration."""
    found: dict[str, Any] = {}
    if feed in ("recording", "simulated"):
        found |= {"feed.kind": feed, "feed.path": None}
    elif feed is not None:
        path = Path(feed)
        if not path.is_file():
            raise click.BadParameter(
                f"{feed!r} is neither 'recording' nor 'simulated' nor a file that is there", param_hint="--feed"
            )
        kind = "recording" if path.name.removesuffix(".gz").endswith(".jsonl") else "file"
        found |= {"feed.kind": kind, "feed.path": str(path.absolute())}
    for path_in_file, value in (("speed", speed), ("instruments", symbols), ("rate", rate), ("seed", seed)):
        if value is not None:
            found[f"feed.{path_in_file}"] = value
    return found


def check_ports(settings: "Settings") -> None:
    """Refuse to start when a port that the configuration names is taken."""
    port = settings.worker.http_port
    for number in (port, port + 1) if port else ():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.worker.http_host, number))
            except OSError as error:
                raise Failure(
                    ExitCode.BUSY,
                    f"port {number} of {settings.worker.http_host} (worker.http_port) cannot be used: {error.strerror}",
                    "Stop what listens there, or set worker.http_port to 0 for any free port",
                ) from error


def check_feed(settings: "Settings") -> None:
    """Refuse to start on a feed whose input is missing or not what it should be."""
    if settings.feed is None:
        return
    from streams.feeds.base import FeedError
    from streams.feeds.publisher import open_feed

    try:
        open_feed(settings.feed)
    except FeedError as error:
        raise Failure(ExitCode.CONFIGURATION, f"feed: {error}") from error


def confirm_reset(settings: "Settings", yes: bool) -> None:
    """Ask before data is deleted; without a terminal --yes has to say it."""
    if settings.broker.bootstrap is not None:
        raise Failure(
            ExitCode.USAGE,
            f"--reset deletes data of the embedded broker, not of the one at {settings.broker.bootstrap}",
            "Delete the topics there yourself, and use another --data",
        )
    found = existing(settings.data_dir)
    if not found or yes:
        return
    if not sys.stdin.isatty():
        what = f"--reset would delete {', '.join(map(str, found))}"
        raise Failure(ExitCode.USAGE, what, "Say so by --yes, nobody can be asked here")
    names = ", ".join(path.name for path in found)
    click.confirm(f"Delete {names} in {settings.data_dir}?", abort=True, err=True)


@click.command(short_help="End the run of a data folder in order.")
@click.option("--force", is_flag=True, help="Do not wait for an orderly end.")
@settings_options
def down(force: bool, chosen: Chosen) -> None:
    """End the `wakeline up` that runs on the data folder, in order; its summary appears where it was started."""
    from streams import runtime

    data_dir = chosen.data_dir().absolute()
    running = runtime.read_process(data_dir, "up")
    if running is None or not running.alive():
        left = list(runtime.processes(data_dir))
        for process in left:
            os.kill(process.pid, signal.SIGTERM)
            click.echo(f"ended worker {process.name} (pid {process.pid}), left over from a run that was killed")
        if left:
            return
        stale = "" if running is None else f" (process {running.pid} of its pid file is gone)"
        what = f"nothing is running on the data folder {data_dir}{stale}"
        raise Failure(ExitCode.NOT_RUNNING, what, "Name the folder by --data")
    os.kill(running.pid, signal.SIGTERM)
    if force:
        time.sleep(0.1)
        os.kill(running.pid, signal.SIGTERM)
    limit_s = time.monotonic() + _DOWN_LIMIT_S
    while running.alive():
        if time.monotonic() > limit_s:
            raise Failure(
                ExitCode.FAILURE,
                f"process {running.pid} is still ending after {_DOWN_LIMIT_S:.0f} s",
                "End it at once by `wakeline down --force`",
            )
        time.sleep(0.05)
    click.echo(f"ended (process {running.pid})")
