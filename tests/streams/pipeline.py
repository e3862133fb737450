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

from processors.inbox import Record, partition_of, read_stamp
from processors.protocols import ALL, Meta
from schemas.codec import decode, encode
from schemas.market import Clock
from tests.streams import toy

Content = tuple[bytes, bytes | None]
Log = dict[int, list[tuple[Record, bytes]]]
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

    async def outputs(self, more: int, within: float = 40) -> None:
        """Wait until `more` records were added to toy-mid, so that a fault hits a worker at work."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            tps = [TopicPartition(f"{self.prefix}mid", partition) for partition in range(self.mid)]
            goal, deadline = sum((await consumer.end_offsets(tps)).values()) + more, time.monotonic() + within
            while sum((await consumer.end_offsets(tps)).values()) < goal:
                assert time.monotonic() < deadline, f"no outputs\n{self.logs()}"
                await asyncio.sleep(0.05)
        finally:
            await consumer.stop()

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
        """Compare with an oracle that knows no stamps, watermarks or snapshots: steps alone, over what must count."""
        counts: dict[str, int] = {}
        wanted: dict[tuple[str, int], list[Content]] = {}
        for role, source, target in (("first", "in", "mid"), ("second", "mid", "out")):
            inputs = await self.read(f"{self.prefix}{source}", self.partitions if role == "first" else self.mid)
            if role == "first":
                assert sum(len(records) for records in inputs.values()) == self.sent
            else:
                inputs = {partition: _admissible(records, wanted, partition) for partition, records in inputs.items()}
            wanted = self._oracle(role, source, inputs)
            outputs = await self.read(f"{self.prefix}{target}", self.mid)
            counts[target] = sum(len(records) for records in outputs.values())
            counts[f"{target}_repeats"] = counts[target] - sum(
                self._check_output(outputs[partition], {s: e for (s, p), e in wanted.items() if p == partition})
                for partition in outputs
            )
        return counts

    def _oracle(self, role: str, source: str, inputs: Log) -> dict[tuple[str, int], list[Content]]:
        wanted: dict[tuple[str, int], list[Content]] = {}
        for partition, records in inputs.items():
            processor = toy.processors(self.prefix, int(self.conf.get("ballast", 0)))[role]
            state, now_ms = processor.initial(partition), 0
            for record, _ in records:
                event = decode(record.value or b"")
                now_ms = max(now_ms, event.now_ms)
                for out in processor.step(state, event, Meta(now_ms, partition, record.offset)):
                    key = out.key.encode()
                    for place in range(self.mid) if out.partition == ALL else [partition_of(key, self.mid)]:
                        name = f"{role}@{self.prefix}{source}/{partition}"
                        wanted.setdefault((name, place), []).append((key, encode(out.value)))
        return wanted

    @staticmethod
    def _check_output(records: list[tuple[Record, bytes]], wanted: dict[str, list[Content]]) -> int:
        """Each source's records: first occurrences are exactly those wanted, in order; repeats are equal."""
        seen: dict[tuple[str, tuple[int, int]], object] = {}
        firsts: dict[str, dict[tuple[int, int], Content]] = {source: {} for source in wanted}
        for record, key in records:
            stamped = read_stamp(record.headers)
            assert stamped is not None
            identity, content = (stamped.source, stamped.stamp), (record.value, key, record.headers)
            assert seen.setdefault(identity, content) == content, f"repeat of {identity} differs"
            firsts.setdefault(stamped.source, {})[stamped.stamp] = (key, record.value)
        for source, expected in wanted.items():
            found = [content for _, content in sorted(firsts[source].items())]
            if len(found) < len(expected):
                raise Missing(f"{source}: {len(found)} of {len(expected)} outputs")
            assert found == expected, f"{source}: outputs are not those of a run without faults"
        assert set(firsts) == set(wanted), f"unknown sources {set(firsts) - set(wanted)}"
        return len(seen)


def _admissible(
    records: list[tuple[Record, bytes]], wanted: dict[tuple[str, int], list[Content]], partition: int
) -> list[tuple[Record, bytes]]:
    """Which records count: of each source the next one that is wanted, whatever stands between."""
    pointers = {source: iter(contents) for (source, place), contents in wanted.items() if place == partition}
    nexts = {source: next(contents, None) for source, contents in pointers.items()}
    found = []
    for record, key in records:
        stamped = read_stamp(record.headers)
        assert stamped is not None
        if (key, record.value) == nexts[stamped.source]:
            found.append((record, key))
            nexts[stamped.source] = next(pointers[stamped.source], None)
    if any(content is not None for content in nexts.values()):
        raise Missing(f"partition {partition} waits for {nexts}")
    return found


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
