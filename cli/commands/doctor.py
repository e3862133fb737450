"""`wakeline doctor`: what is installed, reachable and matching, and how to mend what is not.

Entry points: `doctor` (the command), `CHECKS` (each returns findings; one that raises is a finding itself).
"""

import asyncio
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from cli.exit_codes import ExitCode, Failure, as_failure
from cli.options import Chosen, settings_options

if TYPE_CHECKING:
    from streams.settings import Settings

Level = Literal["ok", "note", "problem"]
_LOCK_FILE = Path(__file__).resolve().parents[2] / "requirements" / "runtime.lock"
_LEAST_PYTHON = (3, 11, 0)
_LEAST_FREE_BYTES = 1024 * 1024 * 1024
_MAX_CLOCK_DRIFT_MS = 2_000  # a live stamper further off the broker than this ends (streams/timebase.py)


class Finding(NamedTuple):
    """One line of the report. A note is worth knowing and no problem; the exit code is that of the first problem."""

    level: Level
    about: str
    text: str
    mend: str = ""
    code: ExitCode = ExitCode.FAILURE


@click.command(short_help="What is missing, and how to mend it.")
@settings_options
def doctor(chosen: Chosen) -> None:
    """Look at everything wakeline needs: each line is ok or a problem with its mend."""
    findings = list(examine(chosen))
    styles = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        mend = f" -> {finding.mend}" if finding.mend else ""
        level = click.style(f"{finding.level:<8}", fg=styles[finding.level])
        click.echo(f"{level}{finding.about:<15}{finding.text}{mend}")
    problems = [finding for finding in findings if finding.level == "problem"]
    if problems:
        what = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}: {', '.join(one.about for one in problems)}"
        raise Failure(problems[0].code, what)


def examine(chosen: Chosen) -> Iterator[Finding]:
    """Yield all findings; what depends on a configuration that cannot be read is left out."""
    yield from check_python()
    yield from check_packages(_LOCK_FILE)
    yield from _guarded("broker jars", check_broker_files)
    try:
        settings = chosen.load()
    except Failure as failure:
        yield Finding("problem", "configuration", failure.message, "wakeline config check", ExitCode.CONFIGURATION)
        return
    yield Finding("ok", "configuration", "read whole, no problem")
    for about, check in CHECKS:
        yield from _guarded(about, lambda check=check: check(settings))  # type: ignore[misc]


def check_python() -> Iterator[Finding]:
    """Python itself."""
    version = sys.version_info[:3]
    text = ".".join(map(str, version))
    if version < _LEAST_PYTHON:
        yield Finding("problem", "python", f"{text} is too old", "install Python 3.11 or newer, then `make install`")
    else:
        yield Finding("ok", "python", text)


def check_packages(lock: Path) -> Iterator[Finding]:
    """Installed packages against the lock."""
    from cli.commands.version import installed

    if not lock.exists():
        yield Finding("note", "packages", "no lock file beside this installation, versions were not compared")
        return
    pinned = locked_versions(lock.read_text(encoding="utf-8"))
    wrong = []
    for name, wanted in pinned.items():
        found = installed(name)
        if found != wanted:
            wrong.append(f"{name} {found or 'missing'} (wanted {wanted})")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        yield Finding("problem", "packages", ", ".join(wrong[:3]) + more, "make install")
    else:
        yield Finding("ok", "packages", f"{len(pinned)} as in the lock")


def locked_versions(text: str) -> dict[str, str]:
    """Return {package: version} of the lines of a lock that hold on this machine."""
    from packaging.markers import Marker

    found = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)\s*(?:;\s*([^\\]+))?", line)
        if match is not None and (match[3] is None or Marker(match[3].strip()).evaluate()):
            found[match[1]] = match[2]
    return found


def check_broker_files() -> Iterator[Finding]:
    """The Java runtime and the jars of the embedded broker."""
    from streams.broker.install import VERSION, java, libraries

    yield Finding("ok", "java", str(java()))
    yield Finding("ok", "broker jars", f"{len(libraries())} of Apache Kafka {VERSION}, all hashes right")


def check_disk(settings: "Settings") -> Iterator[Finding]:
    """Room and rights in the data folder."""
    import tempfile

    folder = settings.data_dir.absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free for {folder}"
    if free < _LEAST_FREE_BYTES:
        yield Finding("problem", "disk", text, "free some, or choose another folder by --data", ExitCode.DISK_FULL)
    else:
        yield Finding("ok", "disk", text)
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        what = f"{there} cannot be written: {error.strerror}"
        yield Finding("problem", "data folder", what, "choose another by --data")


def check_run_folder(settings: "Settings") -> Iterator[Finding]:
    """Who runs on the data folder, and what a killed run left."""
    from streams import runtime

    data_dir = settings.data_dir.absolute()
    parent = runtime.read_process(data_dir, "up")
    workers = list(runtime.processes(data_dir))
    if parent is not None and parent.alive():
        yield Finding("ok", "running", f"`wakeline up` is {parent.state} (pid {parent.pid}), {len(workers)} workers")
    elif workers:
        names = ", ".join(f"{worker.name} (pid {worker.pid})" for worker in workers)
        yield Finding("problem", "running", f"left over from a run that was killed: {names}", "wakeline down")
    elif parent is not None:
        what = f"nothing; a stale pid file of process {parent.pid}"
        yield Finding("note", "running", what, "the next start replaces it")
    else:
        yield Finding("ok", "running", f"nothing on {data_dir}")


def check_ports(settings: "Settings") -> Iterator[Finding]:
    """Ports that the configuration names, unless they are taken by a run of ours."""
    from streams import runtime

    if runtime.FolderLock.held(settings.data_dir.absolute()):
        return
    wanted = {"worker.http_port": settings.worker.http_port}
    if settings.broker.bootstrap is None and settings.broker.embedded.port is not None:
        wanted["broker.embedded.port"] = settings.broker.embedded.port
    for name, port in wanted.items():
        if port and not port_free(settings.worker.http_host, port):
            mend = f"stop what listens there, or set {name}"
            yield Finding("problem", "ports", f"{port} ({name}) is taken", mend, ExitCode.BUSY)
        elif port:
            yield Finding("ok", "ports", f"{port} ({name}) is free")


def port_free(host: str, port: int) -> bool:
    """Return whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def check_broker(settings: "Settings") -> Iterator[Finding]:
    """The broker, its topics, and its clock beside ours."""
    from cli import bootstrap
    from streams.topics_admin import list_topics, load_catalogue

    try:
        address = bootstrap.client(settings)["bootstrap_servers"]
    except Failure as failure:
        own = settings.broker.bootstrap is None
        # An embedded broker runs only while `up` does: that it is silent now is no problem.
        yield Finding("note" if own else "problem", "broker", failure.message, failure.mend, ExitCode.BROKER)
        return
    yield Finding("ok", "broker", f"answers at {address}")
    catalogue = load_catalogue()
    listed = asyncio.run(list_topics(address, catalogue=catalogue, security=settings.broker.security))
    found = {topic.name: topic for topic in listed}
    missing = [name for name in catalogue.topics if name not in found]
    differ = [
        f"{name} has {len(found[name].partitions)} partitions instead of {topic.partitions}"
        for name, topic in catalogue.topics.items()
        if name in found and len(found[name].partitions) != topic.partitions
    ]
    dead = [n for n, topic in found.items() if topic.declared and any(p.leader < 0 for p in topic.partitions)]
    if missing:
        yield Finding("problem", "topics", f"missing: {', '.join(missing)}", "wakeline topics create", ExitCode.TOPICS)
    if differ:
        mend = "a migration, docs/operations.md; for a trial: `wakeline up --reset`"
        yield Finding("problem", "topics", "; ".join(differ), mend, ExitCode.TOPICS)
    if dead:
        yield Finding("problem", "topics", f"without a leader: {', '.join(dead)}", "start all brokers", ExitCode.BROKER)
    if not (missing or differ or dead):
        yield Finding("ok", "topics", f"{len(catalogue.topics)} as topics.yaml declares them")
    yield from _clock(address, settings)


def _clock(address: str, settings: "Settings") -> Iterator[Finding]:
    drift_ms = asyncio.run(broker_clock_drift_ms(address, settings))
    if drift_ms is None:
        return
    if abs(drift_ms) > _MAX_CLOCK_DRIFT_MS:
        yield Finding("problem", "clock", f"{drift_ms / 1000:+.1f} s off the broker's", "synchronise both by NTP")
    else:
        yield Finding("ok", "clock", "agrees with the broker's")


async def broker_clock_drift_ms(address: str, settings: "Settings") -> int | None:
    """Return how far our clock is ahead of the broker's; None when no record tells.

    Asked without writing: the broker stamps records itself, so the newest record must not lie in our future.
    """
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from cli.bootstrap import partitions_of
    from streams.broker.params import client_options

    client = {"bootstrap_servers": address, **client_options(settings.broker.security)}
    places = [TopicPartition("market-data", number) for number in await partitions_of(client, "market-data")]
    if not places:
        return None
    consumer = AIOKafkaConsumer(**client, group_id=None)
    await consumer.start()
    try:
        consumer.assign(places)
        ends = {place: end for place, end in (await consumer.end_offsets(places)).items() if end > 0}
        newest = 0
        for place, end in ends.items():
            consumer.seek(place, end - 1)
            batch = await consumer.getmany(place, timeout_ms=1000, max_records=1)
            newest = max([newest, *(record.timestamp for records in batch.values() for record in records)])
        now_ms = int(time.time() * 1000)
        return None if newest == 0 else min(0, now_ms - newest)
    finally:
        await consumer.stop()


def check_clickhouse(settings: "Settings") -> Iterator[Finding]:
    """The read side: through the running sink, or the configured server."""
    from cli.commands.query import sink_url
    from sinks.clickhouse.query import ask

    data_dir = settings.data_dir.absolute()
    try:
        url = sink_url(data_dir)
    except Failure as failure:
        yield Finding("note", "clickhouse", failure.message, failure.mend)
        return
    if settings.clickhouse.embedded and url is None:
        import importlib.util

        if importlib.util.find_spec("chdb") is None:
            yield Finding("problem", "clickhouse", "the package chdb is missing", "make install")
        else:
            yield Finding("ok", "clickhouse", "embedded, opened when `wakeline up` runs")
        return
    version = ask(settings.clickhouse, data_dir, url, "SELECT version()", "csv").splitlines()[-1].strip('"')
    yield Finding("ok", "clickhouse", f"{version} answers{' through the sink' if settings.clickhouse.embedded else ''}")


CHECKS: tuple[tuple[str, Callable[["Settings"], Iterator[Finding]]], ...] = (
    ("disk", check_disk),
    ("running", check_run_folder),
    ("ports", check_ports),
    ("broker", check_broker),
    ("clickhouse", check_clickhouse),
)


def _guarded(about: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; its own failure is a finding, never the end of the report."""
    try:
        yield from check()
    except Exception as error:
        failure = as_failure(error)
        if failure is not None:
            yield Finding("problem", about, failure.message, failure.mend, ExitCode(failure.exit_code))
        else:
            yield Finding("problem", about, f"{type(error).__name__}: {error}")
