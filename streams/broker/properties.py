"""The settings of one broker of ours, as text for Kafka.

Entry points: `server_properties`, `LOG4J`.
"""

from collections.abc import Sequence
from pathlib import Path

LOG4J = """\
status = warn
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = ${sys:wakeline.log}
appender.file.filePattern = ${sys:wakeline.log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %c{1} %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""


def server_properties(number: int, ports: Sequence[tuple[int, ...]], data: Path) -> str:
    """Return server.properties of node `number` (from 1) of `len(ports)`; `ports` are (client, controller) of each."""
    copies = 3 if len(ports) >= 3 else 1
    client, controller = ports[number - 1]
    voters = ",".join(f"{index}@127.0.0.1:{port[1]}" for index, port in enumerate(ports, 1))
    settings = {
        "process.roles": "broker,controller",
        "node.id": number,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        # Loopback only: no other machine reaches an embedded broker, so it needs no password.
        "listeners": f"PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data.absolute()),
        # Topics come from topics.yaml alone: a misspelt one must fail, not appear.
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": 2 if copies == 3 else 1,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": 2 if copies == 3 else 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": 2 if copies == 3 else 1,
        "share.coordinator.state.topic.num.partitions": 4,
        # After kill -9 the cluster refuses a node's return until its old session has run out (9 s by default).
        "broker.session.timeout.ms": 4000 if copies == 3 else 1500,
        "broker.heartbeat.interval.ms": 1000 if copies == 3 else 400,
        "unclean.leader.election.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        # A power cut takes at most this much of what was acknowledged (see node.py, 4).
        "log.flush.interval.ms": 1000,
        "log.flush.scheduler.interval.ms": 1000,
        # Small machine: the cleaner's default buffer of 128 MB would fill the heap.
        "log.cleaner.dedupe.buffer.size": 2097152,
        "log.cleaner.backoff.ms": 5000,
        "log.retention.check.interval.ms": 60000,
        "num.io.threads": 2,
        "num.network.threads": 2,
        "background.threads": 2,
        "num.recovery.threads.per.data.dir": 2,
        "num.replica.fetchers": 1,
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def _escaped(value: object) -> str:
    """Write a value for a Java properties file, which reads backslashes and other alphabets its own way."""
    text = str(value).replace("\\", "\\\\")
    return "".join(char if char.isascii() else "".join(_units(char)) for char in text)


def _units(char: str) -> list[str]:
    data = char.encode("utf-16-be")
    return [f"\\u{data[i] << 8 | data[i + 1]:04x}" for i in range(0, len(data), 2)]
