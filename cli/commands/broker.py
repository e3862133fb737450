"""`wakeline broker`: Apache Kafka alone, for people who want it without the rest."""

import asyncio
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, settings_options

if TYPE_CHECKING:
    from streams.broker.cluster import Cluster


@click.group(short_help="Apache Kafka alone: install, start, stop.")
def broker() -> None:
    """Apache Kafka of our own: installed from packages, without Docker and without Java on the machine."""


@broker.command()
def install() -> None:
    """Fetch Apache Kafka and verify every jar; nothing is done when it is there already."""
    from cli.console import Steps
    from streams.broker.install import VERSION
    from streams.broker.install import install as fetch

    steps = Steps()
    folder = fetch(lambda done, total, name: steps.progress(f"{done}/{total} {name}"))
    steps.clear()
    click.echo(f"Apache Kafka {VERSION} is in {folder}")


@broker.command()
@click.option("--nodes", type=click.Choice(["1", "3"]), help="Brokers to run (default: what the configuration says).")
@click.option("--topics/--no-topics", default=True, show_default=True, help="Make the topics as well.")
@settings_options
def start(nodes: str | None, topics: bool, chosen: Chosen) -> None:
    """Start the broker of the data folder; it runs on after this command, until `broker stop`."""
    from cli.console import Steps
    from streams.broker.install import install as fetch
    from streams.topics_admin import ensure_topics, load_catalogue

    settings = chosen.load({} if nodes is None else {"broker.embedded.nodes": int(nodes)})
    steps = Steps()
    fetch(lambda done, total, name: steps.progress(f"fetching Apache Kafka {done}/{total} {name}"))
    steps.clear()
    cluster = _cluster(chosen, settings.broker.embedded.nodes)
    cluster.start(progress=steps.progress)
    steps.clear()
    if topics:
        asyncio.run(ensure_topics(load_catalogue(), cluster.bootstrap, replication=settings.broker.topic_replication))
    click.echo(cluster.bootstrap)


@broker.command()
@settings_options
def stop(chosen: Chosen) -> None:
    """Stop the broker of the data folder."""
    from streams import runtime

    settings = chosen.load()
    if runtime.FolderLock.held(settings.data_dir):
        raise Failure(
            ExitCode.BUSY, f"`wakeline up` runs on {settings.data_dir} and needs its broker", "Use `wakeline down`"
        )
    cluster = _existing(chosen)
    if not any(node.running for node in cluster.nodes):
        raise Failure(ExitCode.NOT_RUNNING, f"no broker runs in {cluster.folder}")
    cluster.stop()
    click.echo("stopped")


@broker.command()
@settings_options
def status(chosen: Chosen) -> None:
    """Tell whether the broker of the data folder runs; the exit code tells as well."""
    cluster = _existing(chosen)
    for node in cluster.status():
        state = f"runs, pid {node.pid}" if node.running else "does not run"
        click.echo(f"node {node.number} at {node.bootstrap} {state}; log {node.log}")
    if not cluster.running:
        raise Failure(ExitCode.NOT_RUNNING, "the broker does not run whole", "Start it by `wakeline broker start`")


def _cluster(chosen: Chosen, nodes: int) -> "Cluster":
    from streams.broker.cluster import open_cluster

    settings = chosen.load({"broker.embedded.nodes": nodes})
    if settings.broker.bootstrap is not None:
        raise click.UsageError("--broker names a broker of yours; this command is about the one of the data folder")
    from cli.bootstrap import embedded_folder

    return open_cluster(embedded_folder(settings.data_dir), settings.broker.embedded, detached=True)


def _existing(chosen: Chosen) -> "Cluster":
    """Return the cluster of the data folder with as many nodes as it has."""
    import json

    from cli.bootstrap import embedded_folder

    folder = embedded_folder(chosen.load().data_dir)
    try:
        nodes = len(json.loads((folder / "cluster.json").read_text())["ports"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Failure(
            ExitCode.NOT_RUNNING, f"no broker was ever started in {folder}", "Start it by `wakeline broker start`"
        ) from None
    return _cluster(chosen, nodes)
