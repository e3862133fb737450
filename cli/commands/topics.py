"""`wakeline topics`: the catalogue topics.yaml, and the broker's topics beside it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, settings_options

if TYPE_CHECKING:
    from streams.topics_admin import TopicInfo


@click.group(short_help="The topics: check, create, list, docs.")
def topics() -> None:
    """Topics: what topics.yaml declares and what the broker has."""


@topics.command()
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Another file than the built-in one.")
def check(file: Path | None) -> None:
    """Check topics.yaml whole; every problem is told with its line and mend. Needs no broker."""
    from streams.topics_admin import load_catalogue

    catalogue = load_catalogue(file)
    click.echo(f"{len(catalogue.topics)} topics, no problem")


@topics.command()
@settings_options
def create(chosen: Chosen) -> None:
    """Make the topics that the broker lacks, and verify those it has."""
    from cli import bootstrap
    from streams.topics_admin import ensure_topics, load_catalogue

    settings = chosen.load()
    address = bootstrap.client(settings)["bootstrap_servers"]
    catalogue = load_catalogue()
    broker = settings.broker
    report = asyncio.run(
        ensure_topics(catalogue, address, replication=broker.topic_replication, security=broker.security)
    )
    for name in report.created:
        click.echo(f"made {name}")
    for name, changes in report.mended.items():
        told = ", ".join(f"{setting} {before} -> {after}" for setting, (before, after) in changes.items())
        click.echo(f"mended {name}: {told}")
    click.echo(f"{len(catalogue.topics)} topics are as topics.yaml declares them")


@topics.command("list")
@settings_options
def list_(chosen: Chosen) -> None:
    """List the broker's topics: partitions, replicas, records, and what differs from topics.yaml."""
    from cli import bootstrap
    from streams.topics_admin import list_topics, load_catalogue

    settings = chosen.load()
    address = bootstrap.client(settings)["bootstrap_servers"]
    found = asyncio.run(list_topics(address, catalogue=load_catalogue(), security=settings.broker.security))
    click.echo(f"{'topic':<22}{'partitions':>11}{'copies':>8}{'records':>13}{'MB':>9}  state")
    for topic in found:
        copies = min((len(partition.replicas) for partition in topic.partitions), default=0)
        size = f"{topic.size_bytes / 1e6:.1f}"
        line = f"{topic.name:<22}{len(topic.partitions):>11}{copies:>8}{topic.records:>13,}{size:>9}  {_state(topic)}"
        click.echo(line)
    missing = [name for name in load_catalogue().topics if name not in {topic.name for topic in found}]
    if missing:
        mend = "Make them by `wakeline topics create`"
        raise Failure(ExitCode.TOPICS, f"the broker lacks {', '.join(missing)}", mend)


@topics.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file, not to stdout.")
def docs(output: Path | None) -> None:
    """Write the topics and their messages as AsyncAPI 3 with JSON Schema."""
    import json

    from schemas.asyncapi import asyncapi
    from streams.topics_admin import load_catalogue

    text = json.dumps(asyncapi(load_catalogue()), indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
        click.echo(f"wrote {output}", err=True)


def _state(topic: "TopicInfo") -> str:
    without_leader = sum(partition.leader < 0 for partition in topic.partitions)
    behind = sum(len(partition.in_sync) < len(partition.replicas) for partition in topic.partitions)
    if without_leader:
        return f"{without_leader} partitions without a leader"
    if behind:
        return f"{behind} partitions with copies behind"
    return "ok" if topic.declared else "not in topics.yaml"
