"""Drives the toy pipeline against real brokers and proves from the topics what came out."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from processors.inbox import Inbox, InboxCore, Record, read_stamp
from schemas.codec import encode
from schemas.market import Clock
from tests.streams import toy

ROOT = Path(__file__).resolve().parents[2]


class Pipeline:
    """Topics, a feed, workers, and the proof. Use as an async context manager."""

    def __init__(
        self, bootstrap: str, prefix: str, *, replication: int = 1, partitions: int = 4, mid: int = 3, **conf: object
    ) -> None:
        self.bootstrap, self.prefix, self.replication = bootstrap, prefix + "-", replication
        self.folder = tempfile.TemporaryDirectory(prefix="wakeline-toy-")
        self.partitions, self.mid = partitions, mid
        self.conf = {
            "bootstrap": bootstrap,
            "prefix": self.prefix,
            "partitions": partitions,
            "mid_partitions": mid,
            **conf,
        }
        self.sent = 0
        self._feeding: asyncio.Task | None = None
        self._workers: list[subprocess.Popen] = []
        self._names = itertools.count()

    async def __aenter__(self) -> "Pipeline":
        names = toy.topics(self.prefix, self.partitions, self.mid)
        counts = {name: topic.partitions for name, topic in names.items()}
        counts |= {f"snapshots-{self.prefix}first": self.partitions, f"snapshots-{self.prefix}second": self.mid}
        await create_topics(self.bootstrap, counts, self.replication)
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True, max_batch_size=131072
        )
        await self.producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        await self.producer.stop()
        self.folder.cleanup()

    # -- workers
    def worker(self, **conf: object) -> subprocess.Popen:
        name = next(self._names)
        log = open(Path(self.folder.name) / f"worker-{name}.log", "w")  # noqa: SIM115 (the child's)
        conf = {**self.conf, "data_dir": f"{self.folder.name}/{name}", **conf}
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.streams.toy_worker", json.dumps(conf)], cwd=ROOT, stdout=log, stderr=log
        )
        log.close()
        self._workers.append(worker)
        return worker

    async def stopped(self, worker: subprocess.Popen, how: signal.Signals = signal.SIGTERM, within: float = 20) -> int:
        worker.send_signal(how)
        return await self.ended(worker, within)

    async def ended(self, worker: subprocess.Popen, within: float = 20) -> int:
        try:
            return await asyncio.to_thread(worker.wait, within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"worker did not end\n{self.logs()}") from None

    def logs(self) -> str:
        paths = sorted(Path(self.folder.name).glob("worker-*.log"))
        return "\n".join(f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-25:]) for path in paths)

    # -- feed
    async def feed(self, count: int, rate: float = 2000.0) -> None:
        """Send `count` records round the partitions at `rate` per second, each acknowledged by the end."""
        began, futures = time.monotonic(), []
        for number in range(count):
            value = encode(Clock(now_ms=1_000 + self.sent, feed=f"f{self.sent % 7}", position=self.sent))
            futures.append(await self.producer.send(f"{self.prefix}in", value, partition=self.sent % self.partitions))
            self.sent += 1
            if number % 100 == 99:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        await asyncio.gather(*futures)

    def feed_soon(self, count: int, rate: float = 2000.0) -> None:
        self._feeding = asyncio.create_task(self.feed(count, rate))

    async def fed(self) -> None:
        assert self._feeding is not None
        await self._feeding

    # -- proof
    async def read(self, topic: str, partitions: int) -> dict[int, list[tuple[Record, bytes]]]:
        """Return every record of a topic with its key."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        found: dict[int, list[tuple[Record, bytes]]] = {partition: [] for partition in range(partitions)}
        try:
            tps = [TopicPartition(topic, partition) for partition in found]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            begins = await consumer.beginning_offsets(tps)
            for tp in tps:
                consumer.seek(tp, begins[tp])
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for tp, records in (await consumer.getmany(timeout_ms=300)).items():
                    found[tp.partition] += [
                        (Record(r.offset, r.value, tuple(h for h in r.headers if h[0] != "t0")), r.key) for r in records
                    ]
        finally:
            await consumer.stop()
        return found

    async def proof(self, within: float = 60.0) -> dict[str, int]:
        """Wait until everything came out, then prove it; return counts of records and repeats per topic."""
        deadline = time.monotonic() + within
        while True:
            try:
                return await self._prove()
            except Missing as missing:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{missing} after {within} s\n{self.logs()}") from None
                await asyncio.sleep(0.5)

    async def _prove(self) -> dict[str, int]:
        names, counts = toy.topics(self.prefix, self.partitions, self.mid), {}
        for role, source, target in (("first", "in", "mid"), ("second", "mid", "out")):
            processor = toy.processors(self.prefix, self.conf.get("ballast", 0))[role]
            core = InboxCore(processor, names)
            inputs = await self.read(f"{self.prefix}{source}", names[f"{self.prefix}{source}"].partitions)
            wanted: dict[tuple[str, int], list] = {}
            for partition, records in inputs.items():
                inbox = core.new(partition)
                for emit in core.apply(inbox, [record for record, _ in records]):
                    if emit.topic == f"{self.prefix}{target}":
                        wanted.setdefault((core.source(partition), emit.partition), []).append(emit)
                assert not inbox.holes, f"{role}/{partition} waits for {inbox.holes}"
                if role == "first":
                    self._check_feed(inbox, records)
            outputs = await self.read(f"{self.prefix}{target}", self.mid)
            counts[target] = sum(len(records) for records in outputs.values())
            counts[f"{target}_repeats"] = counts[target] - sum(
                self._check_output(outputs[partition], {s: e for (s, p), e in wanted.items() if p == partition})
                for partition in outputs
            )
        return counts

    def _check_feed(self, inbox: Inbox, records: list[tuple[Record, bytes]]) -> None:
        """The inputs themselves are complete, and the oracle applied each once."""
        expected = len(range(inbox.partition, self.sent, self.partitions))
        assert len(records) == expected == inbox.state.count

    @staticmethod
    def _check_output(records: list[tuple[Record, bytes]], wanted: dict[str, list]) -> int:
        """Each source's records: first occurrences are exactly those wanted, in order; repeats are equal."""
        seen: dict[tuple[str, tuple[int, int]], tuple[bytes | None, bytes, object]] = {}
        firsts: dict[str, list] = {source: [] for source in wanted}
        for record, key in records:
            stamped = read_stamp(record.headers)
            assert stamped is not None
            identity, content = (stamped.source, stamped.stamp), (record.value, key, record.headers)
            if identity in seen:
                assert seen[identity] == content, f"repeat of {identity} differs: {seen[identity]} {content}"
                continue
            seen[identity] = content
            firsts.setdefault(stamped.source, []).append((key, record.value, record.headers))
        for source, emits in wanted.items():
            expected = [(emit.key, emit.value, emit.headers) for emit in emits]
            found = sorted(firsts[source], key=lambda one: read_stamp(one[2]).stamp)
            if len(found) < len(expected):
                raise Missing(f"{source}: {len(found)} of {len(expected)} outputs")
            assert found == expected, f"{source}: outputs are not those of a run without faults"
        assert set(firsts) == set(wanted), f"unknown sources {set(firsts) - set(wanted)}"
        return len(seen)


class Missing(Exception):
    """Not everything came out yet."""


async def create_topics(bootstrap: str, counts: dict[str, int], replication: int = 1, **configs: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics(
            [
                NewTopic(
                    name,
                    partitions,
                    replication,
                    topic_configs={
                        "min.insync.replicas": str(max(1, replication - 1)),
                        **(
                            {"cleanup.policy": "compact", "segment.ms": "60000", "segment.bytes": "8388608"}
                            if name.startswith("snapshots")
                            else {}
                        ),
                        **configs,
                    },
                )
                for name, partitions in counts.items()
            ]
        )
        for topic, code, *_ in answer.topic_errors:
            assert code in (0, 36), (topic, code)
    finally:
        await admin.close()


def freeze(worker: subprocess.Popen) -> None:
    os.kill(worker.pid, signal.SIGSTOP)


def thaw(worker: subprocess.Popen) -> None:
    os.kill(worker.pid, signal.SIGCONT)
