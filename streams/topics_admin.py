"""Topics of the broker against topics.yaml: read the catalogue, make, verify, mend and list topics.

Entry points: `load_catalogue`, `ensure_topics`, `list_topics`, `topic_configs`.

1. What a topic's declaration says of retention, compaction and copies is mended on the broker without asking.
2. A partition count is never changed: keys would move to other partitions, away from their state. A difference is
   refused with every topic that differs and the migration that is documented in docs/topics.md.
3. Overrides that somebody else set on a topic stay (Kafka's AlterConfigs replaces all of them, so they are read first).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from schemas.topics import Catalogue, CatalogueError, Topic, parse_topics
from schemas.yaml_lines import Problem
from streams.broker.errors import BrokerError
from streams.broker.log_facts import UNKNOWN, offsets, sizes
from streams.broker.params import SecurityParams, client_options

CATALOGUE_FILE = Path(__file__).parents[1] / "topics.yaml"
MIGRATION = 'docs/topics.md, "Changing the number of partitions"'

_EXISTS = 36
_BAD_REPLICATION = 38
_TOPIC_OVERRIDE = 1  # source of a configuration value that was set on the topic itself
_DAY_MS = 86_400_000
_READY_TIMEOUT_S = 30.0


class TopicsMismatch(BrokerError):
    """The broker's topics differ from topics.yaml in what cannot be mended here."""


class EnsureReport(NamedTuple):
    """What `ensure_topics` did: topics made, and settings changed by topic (name: (before, after))."""

    created: tuple[str, ...]
    mended: dict[str, dict[str, tuple[str | None, str]]]


class PartitionInfo(NamedTuple):
    """One partition; `begin` is its first offset, `end` the next one to be written; leader, offsets -1: none alive."""

    partition: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]
    begin: int
    end: int


class TopicInfo(NamedTuple):
    """One topic of the broker; `declared` if topics.yaml has it; `size_bytes` counts all copies."""

    name: str
    declared: bool
    partitions: tuple[PartitionInfo, ...]
    size_bytes: int

    @property
    def records(self) -> int:
        """Offsets that lie between beginning and end (with compaction: at most so many records)."""
        return sum(partition.end - partition.begin for partition in self.partitions)


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read and check the catalogue; None: the topics.yaml that comes with the program.

    Raises:
        CatalogueError: it cannot be read, or declares something wrong; with every problem found.
    """
    path = CATALOGUE_FILE if path is None else path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CatalogueError([Problem(1, "", f"cannot be read: {reason}", "restore the file")], str(path)) from error
    return parse_topics(text, str(path))


def topic_configs(topic: Topic, replication: int) -> dict[str, str]:
    """Return the broker's settings for `topic`, by Kafka's names."""
    configs = {
        "cleanup.policy": "compact" if topic.compact else "delete",
        "retention.ms": "-1" if topic.retention_ms is None else str(topic.retention_ms),
        "min.insync.replicas": str(min(topic.min_insync, replication)),
        # The broker's clock counts for retention, so that a wrong clock of a writer cannot delete or keep records.
        "message.timestamp.type": "LogAppendTime",
    }
    if topic.compact:
        # Only closed segments are compacted: with the defaults (1 GiB, 7 days) the log of a state would never shrink.
        configs |= {"segment.bytes": str(8 * 1024 * 1024), "segment.ms": "60000", "min.cleanable.dirty.ratio": "0.1"}
    elif topic.retention_ms is not None:
        # A segment is deleted as a whole once its last record is old enough.
        configs["segment.ms"] = str(max(60_000, min(topic.retention_ms // 8, _DAY_MS)))
    return configs


async def ensure_topics(
    catalogue: Catalogue,
    bootstrap: str,
    *,
    replication: int | None = None,
    security: SecurityParams | None = None,
) -> EnsureReport:
    """Make the topics that are missing, mend settings that differ, and return once every partition has a leader.

    Args:
        catalogue: what there should be.
        bootstrap: host:port[,host:port].
        replication: copies of every topic; None: as the catalogue says.
        security: how to be let in.

    Raises:
        TopicsMismatch: a topic has another number of partitions or fewer copies than declared.
        BrokerError: the broker cannot be reached, has fewer nodes than copies are wanted, or refuses a topic.
    """
    topics = list(catalogue.topics.values())
    async with _admin(bootstrap, security) as admin:
        found = await _described(admin)
        missing = [topic for topic in topics if topic.name not in found]
        _check_existing([topic for topic in topics if topic.name in found], found, replication)
        if missing:
            await _check_nodes(admin, missing, replication)
            await _create(admin, missing, replication)
        found = await _until_led(admin, [topic.name for topic in topics])
        _check_existing(topics, found, replication)
        mended = await _mend(admin, topics, replication)
    return EnsureReport(tuple(topic.name for topic in missing), mended)


async def list_topics(
    bootstrap: str, *, catalogue: Catalogue | None = None, security: SecurityParams | None = None
) -> list[TopicInfo]:
    """Return what the broker holds, internal topics left out: the catalogue's in its order, then others by name.

    Raises:
        BrokerError: the broker cannot be reached.
    """
    declared = list(catalogue.topics) if catalogue is not None else []
    async with _admin(bootstrap, security) as admin:
        found = {name: entry for name, entry in (await _described(admin)).items() if not entry["is_internal"]}
        size = await sizes(admin)
        bounds = await offsets(admin, found.values())
    order = [name for name in declared if name in found] + sorted(set(found).difference(declared))
    return [
        TopicInfo(
            name,
            name in declared,
            tuple(
                PartitionInfo(
                    part["partition"],
                    part["leader"],
                    tuple(part["replicas"]),
                    tuple(part["isr"]),
                    *bounds.get((name, part["partition"]), UNKNOWN),
                )
                for part in sorted(found[name]["partitions"], key=lambda one: int(one["partition"]))
            ),
            size.get(name, 0),
        )
        for name in order
    ]


@asynccontextmanager
async def _admin(bootstrap: str, security: SecurityParams | None) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="wakeline-admin", **client_options(security))
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        reason = str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}"
        mend = "start it, or correct broker.bootstrap and broker.security"
        raise BrokerError(f"no answer from the broker at {bootstrap} ({reason})", mend) from error
    finally:
        await admin._client.close()


async def _described(admin: AIOKafkaAdminClient) -> dict[str, dict[str, Any]]:
    return {entry["topic"]: entry for entry in await admin.describe_topics() if entry["error_code"] == 0}


def _check_existing(topics: Sequence[Topic], found: dict[str, dict[str, Any]], replication: int | None) -> None:
    """Refuse what cannot be mended, every difference in one report."""
    partitions, copies = [], []
    for topic in topics:
        parts = found[topic.name]["partitions"]
        if len(parts) != topic.partitions:
            partitions.append(f"{topic.name} has {len(parts)} partitions, topics.yaml says {topic.partitions}")
        wanted = topic.replication if replication is None else replication
        least = min((len(part["replicas"]) for part in parts), default=wanted)
        if least < wanted:
            copies.append(f"{topic.name} has {least} copies, {wanted} are wanted")
    if partitions or copies:
        mends = [f"put the old number back into topics.yaml, or follow {MIGRATION}"] if partitions else []
        mends += ["add copies with kafka-reassign-partitions, or set broker.replication"] if copies else []
        raise TopicsMismatch("; ".join(_shortened(partitions) + _shortened(copies)), "; ".join(mends))


def _shortened(texts: list[str], most: int = 4) -> list[str]:
    return texts if len(texts) <= most else [*texts[:most], f"and {len(texts) - most} topics more"]


async def _check_nodes(admin: AIOKafkaAdminClient, topics: Sequence[Topic], replication: int | None) -> None:
    nodes = len((await admin.describe_cluster())["brokers"])
    wanted = max(topic.replication for topic in topics) if replication is None else replication
    if nodes < wanted:
        what = f"{wanted} copies of each topic are wanted, {nodes} broker{'' if nodes == 1 else 's'} answer"
        raise BrokerError(what, f"start all brokers, or set broker.replication: {nodes}")


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Topic], replication: int | None) -> None:
    new = []
    for topic in topics:
        copies = topic.replication if replication is None else replication
        new.append(NewTopic(topic.name, topic.partitions, copies, topic_configs=topic_configs(topic, copies)))
    response = await admin.create_topics(new)
    problems = [
        f"{name}: {for_code(code).__name__}{f' ({message})' if message else ''}"
        for name, code, message in response.topic_errors
        if code not in (0, _EXISTS)  # another worker was faster: what it made is verified like any other
    ]
    if problems:
        codes = {code for _, code, _ in response.topic_errors}
        mend = "start all brokers, or set broker.replication" if _BAD_REPLICATION in codes else "correct topics.yaml"
        raise BrokerError(f"the broker refuses {len(problems)} topics: {'; '.join(problems)}", mend)


async def _until_led(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Wait until every live broker knows every topic and a leader of each partition; return them as described."""
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        views = [await _described_by(admin, broker.nodeId) for broker in admin._client.cluster.brokers()]
        waiting = [
            name
            for name in names
            for found in views
            if name not in found or any(part["leader"] < 0 for part in found[name]["partitions"])
        ]
        if views and not waiting:
            return views[0]
        if time.monotonic() > deadline:
            what = f"{', '.join(sorted(set(waiting)))}: no leader after {_READY_TIMEOUT_S:.0f} s"
            raise BrokerError(what, "look whether all brokers run")
        await asyncio.sleep(0.1)
        await admin._client.force_metadata_update()


async def _described_by(admin: AIOKafkaAdminClient, node: int) -> dict[str, dict[str, Any]]:
    response = await admin._send_request_to_node(node, MetadataRequest(None))
    return {entry["topic"]: entry for entry in response.to_object()["topics"] if entry["error_code"] == 0}


async def _mend(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic], replication: int | None
) -> dict[str, dict[str, tuple[str | None, str]]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    overrides: dict[str, dict[str, str]] = {topic.name: {} for topic in topics}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code != 0:
                raise BrokerError(
                    f"settings of {name} cannot be read: {message or for_code(code).__name__}",
                    "allow DescribeConfigs on it",
                )
            overrides[name] = {entry[0]: entry[1] for entry in entries if entry[3] == _TOPIC_OVERRIDE}
    mended: dict[str, dict[str, tuple[str | None, str]]] = {}
    changes = []
    for topic in topics:
        own = overrides[topic.name]
        wanted = topic_configs(topic, topic.replication if replication is None else replication)
        differs = {name: (own.get(name), value) for name, value in wanted.items() if own.get(name) != value}
        if differs:
            mended[topic.name] = differs
            changes.append(ConfigResource(ConfigResourceType.TOPIC, topic.name, own | wanted))
    for response in await admin.alter_configs(changes) if changes else []:
        for code, message, _, name in response.resources:
            if code != 0:
                raise BrokerError(
                    f"settings of {name} cannot be changed: {message or for_code(code).__name__}",
                    "allow AlterConfigs on it",
                )
    return mended
