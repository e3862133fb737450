"""State of a processor on its compacted topic `snapshots-<role>`: pieces, a manifest last, and who opened it last.

Entry points: `SnapshotStore` (`load`, `save`), `SnapshotRefused`; pure parts: `Ledger`, `pieces_of`, `check`.

Keys (partition p of the topic holds the state of partition p of the inbox):
    <p>/<snapshot id>/<number>    one piece of the compressed state
    <p>/<snapshot id>/manifest    JSON: position, hashes, schema, build, configuration, clean mark
    <p>/opened                    JSON: who took the partition last

1. The snapshot id is unique per writing, so writers (a frozen one that wakes, its successor) never mix their pieces.
2. The complete set with the highest position counts; of several, the last written. Any of them is true, since a step
   is deterministic: going on from an older one repeats outputs with the same stamps.
3. Two sets are kept; a writer deletes only what has a lower position than both, and never above its own.
4. Whoever opened the partition last may have published beyond every set that is there. So a set is clean only if its
   writer closed it as such and was that last opener; from another set only the opener's own build and configuration
   goes on. A frozen worker that wakes can so never mark a state clean that its successor has passed.
5. What was published before an opening lies below the end of the inbox at that time. Who goes on from a set that was
   not clean may close cleanly only from there on (`Opened.clean_from`), else it could hide what a killed worker sent.
"""

import asyncio
import hashlib
import time
import uuid
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.producer import Publisher

PIECE_BYTES: Final = 900_000
KEPT: Final = 2
READ_TIMEOUT_S: Final = 60.0


class SnapshotRefused(RuntimeError):
    """The state there is must not be gone on from by this build or configuration."""


class Version(NamedTuple):
    """What must be equal for a state to be gone on from without a clean mark."""

    build: str
    config_hash: str
    state_schema: int


class Manifest(msgspec.Struct, frozen=True):
    """Closes a set. `opened` is the offset of the record by which its writer had opened the partition."""

    snapshot: str
    partition: int
    position: int
    pieces: tuple[str, ...]  # SHA-256 of each
    size: int
    build: str
    config_hash: str
    state_schema: int
    clean: bool
    opened: int
    written_ms: int  # wall time, for people

    @property
    def version(self) -> Version:
        """Build, configuration and schema."""
        return Version(self.build, self.config_hash, self.state_schema)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state as loaded."""

    snapshot: str
    position: int
    state: bytes
    version: Version
    clean: bool  # nothing was published beyond it


class Opening(msgspec.Struct, frozen=True):
    """Written by a worker when it takes a partition: who it is, and the snapshot id it goes on from."""

    build: str
    config_hash: str
    state_schema: int
    begins: str | None

    @property
    def version(self) -> Version:
        """Build, configuration and schema."""
        return Version(self.build, self.config_hash, self.state_schema)


class Opened(NamedTuple):
    """Answer to `SnapshotStore.load` for one partition: the state, if any, our opening, and from which position on
    the state may be closed as clean.
    """

    snapshot: Snapshot | None
    opened: int
    clean_from: int


Row = tuple[bytes, bytes | None]


def piece_key(partition: int, snapshot: str, number: int) -> bytes:
    """Return the key of a piece."""
    return f"{partition}/{snapshot}/{number}".encode()


def manifest_key(partition: int, snapshot: str) -> bytes:
    """Return the key of a manifest."""
    return f"{partition}/{snapshot}/manifest".encode()


def opened_key(partition: int) -> bytes:
    """Return the key of the record by which a worker takes a partition."""
    return f"{partition}/opened".encode()


def pieces_of(data: bytes, size: int = PIECE_BYTES) -> list[bytes]:
    """Return `data` compressed and cut; each piece at most `size` bytes."""
    packed = zlib.compress(data, 1)
    return [packed[start : start + size] for start in range(0, len(packed), size)]


class Ledger:
    """What stands on one partition of a snapshots topic, fed record by record in the order of the log."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self._opened_key = opened_key(partition)
        self.opened = -1  # offset of the last opening
        self.opening: Opening | None = None
        self._rows: dict[bytes, bytes] = {}
        self._offsets: dict[bytes, int] = {}
        self._sets: list[Manifest] | None = None  # of `complete`, until something is read

    def read(self, offset: int, key: bytes, value: bytes | None) -> None:
        """Take one record."""
        self._sets = None
        if key == self._opened_key:
            self.opened = offset
            self.opening = None if value is None else _opening.decode(value)
        elif value is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = value
            self._offsets[key] = offset

    def complete(self) -> list[Manifest]:
        """Return the manifests of whole sets, best first."""
        if self._sets is not None:
            return self._sets
        found = []
        for key, value in self._rows.items():
            if key.endswith(b"/manifest"):
                manifest = _manifest.decode(value)
                if self._whole(manifest):
                    found.append((manifest.position, self._offsets[key], manifest))
        self._sets = [manifest for _, _, manifest in sorted(found, key=lambda one: one[:2], reverse=True)]
        return self._sets

    def _whole(self, manifest: Manifest) -> bool:
        for number, digest in enumerate(manifest.pieces):
            piece = self._rows.get(piece_key(self.partition, manifest.snapshot, number))
            if piece is None or hashlib.sha256(piece).hexdigest() != digest:
                return False
        return True

    def best(self, ours: Version, migrates: bool = False, place: str = "") -> Snapshot | None:
        """Return the state to go on from, or None to begin anew.

        Raises:
            SnapshotRefused: there is none that this build and configuration may go on from; says what differs.
        """
        sets, opening = self.complete(), self.opening
        if opening is None:  # written by no worker of ours: take what is there
            usable = sets
        elif opening.version == ours:
            usable = [one for one in sets if one.version == ours or one.snapshot == opening.begins or self._clean(one)]
            if not usable and opening.begins is None:
                return None
        else:
            usable = [one for one in sets if self._clean(one)]
        if not usable and opening is not None:
            raise _refused(opening.version, ours, place)
        if not usable:
            return None
        manifest = usable[0]
        _check_schema(manifest, ours, migrates, place)
        packed = b"".join(
            self._rows[piece_key(self.partition, manifest.snapshot, number)] for number in range(len(manifest.pieces))
        )
        return Snapshot(
            manifest.snapshot, manifest.position, zlib.decompress(packed), manifest.version, self._clean(manifest)
        )

    def _clean(self, manifest: Manifest) -> bool:
        return manifest.clean and manifest.opened == self.opened

    def shelf(self) -> "Shelf":
        """Return what a writer must know of the sets that are there."""
        keys: dict[str, list[bytes]] = {}
        for key in self._rows:
            keys.setdefault(key.split(b"/")[1].decode(), []).append(key)
        whole = {manifest.snapshot for manifest in self.complete()}
        return Shelf({snapshot: tuple(found) for snapshot, found in keys.items()}, whole)


class Shelf:
    """The sets a writer knows of one partition; says which records may go."""

    def __init__(self, keys: Mapping[str, tuple[bytes, ...]] | None = None, whole: Collection[str] = ()) -> None:
        self._keys = dict(keys or {})
        self._whole = set(whole)

    def add(self, snapshot: str, keys: tuple[bytes, ...]) -> list[bytes]:
        """Note a whole set just written; return the keys of older sets, whole or torn, that nobody needs any more."""
        self._keys[snapshot] = keys
        self._whole.add(snapshot)
        kept = sorted(self._whole, key=position_of, reverse=True)[:KEPT]
        if len(kept) < KEPT:
            return []
        floor = min(position_of(kept[-1]), position_of(snapshot))
        doomed = [old for old in self._keys if position_of(old) < floor]
        self._whole.difference_update(doomed)
        return [key for old in doomed for key in self._keys.pop(old)]


def new_snapshot_id(position: int, token: str) -> str:
    """Return an id unique to one writing; it names the position, so that a torn set can be told from a newer one."""
    return f"{position:020d}-{token}"


def position_of(snapshot: str) -> int:
    """Return the position in a snapshot id."""
    return int(snapshot.split("-")[0])


def rows_of(
    partition: int,
    position: int,
    data: bytes,
    *,
    version: Version,
    clean: bool,
    opened: int,
    token: str,
    now_ms: int,
    size: int = PIECE_BYTES,
) -> tuple[str, list[Row]]:
    """Return the snapshot id and the records of a set, in the order they must be written: the manifest is last."""
    snapshot = new_snapshot_id(position, token)
    pieces = pieces_of(data, size)
    manifest = Manifest(
        snapshot=snapshot,
        partition=partition,
        position=position,
        pieces=tuple(hashlib.sha256(piece).hexdigest() for piece in pieces),
        size=len(data),
        build=version.build,
        config_hash=version.config_hash,
        state_schema=version.state_schema,
        clean=clean,
        opened=opened,
        written_ms=now_ms,
    )
    rows: list[Row] = [(piece_key(partition, snapshot, number), piece) for number, piece in enumerate(pieces)]
    rows.append((manifest_key(partition, snapshot), msgspec.json.encode(manifest)))
    return snapshot, rows


_RESET: Final = "or clear all with `wakeline up --reset` (a demonstration)"


def _refused(theirs: Version, ours: Version, place: str) -> SnapshotRefused:
    if theirs == ours:
        return SnapshotRefused(f"state of {place} is not complete any more: {_RESET}")
    return SnapshotRefused(
        f"state of {place} was not closed cleanly and differs in {_differences(theirs, ours)}: what was published "
        "after it would be computed otherwise. Start the previous build with the previous configuration once and stop "
        f"it (Ctrl-C or SIGTERM), so that it closes cleanly; {_RESET}"
    )


def _check_schema(manifest: Manifest, ours: Version, migrates: bool, place: str) -> None:
    if manifest.state_schema > ours.state_schema:
        raise SnapshotRefused(
            f"state of {place} has schema {manifest.state_schema}, this build reads up to {ours.state_schema}: start "
            f"the newer build ({manifest.build}) again, {_RESET}"
        )
    if manifest.state_schema != ours.state_schema and not migrates:
        raise SnapshotRefused(
            f"state of {place} has schema {manifest.state_schema}, this build has {ours.state_schema} and no migration "
            f"from it: start a build between them first, {_RESET}"
        )


def _differences(theirs: Version, ours: Version) -> str:
    names = ("build", "configuration", "state schema")
    return ", ".join(
        f"{name} (was {was}, is {now})" for name, was, now in zip(names, theirs, ours, strict=True) if was != now
    )


_opening = msgspec.json.Decoder(Opening)
_manifest = msgspec.json.Decoder(Manifest)


def _id(snapshot: Snapshot | None) -> str | None:
    return None if snapshot is None else snapshot.snapshot


class SnapshotStore:
    """Reads and writes the states of one role, whose inbox is the topic `inbox`.

    One `load` or `save` at a time per partition.
    """

    def __init__(
        self,
        topic: str,
        inbox: str,
        publisher: Publisher,
        *,
        bootstrap: str,
        version: Version,
        migrates: bool = False,
        security: Mapping[str, Any] | None = None,
    ) -> None:
        self.topic, self.inbox, self.version = topic, inbox, version
        self._publisher, self._migrates = publisher, migrates
        self._options: dict[str, Any] = {"bootstrap_servers": bootstrap, **(security or {})}
        self._shelves: dict[int, Shelf] = {}

    async def load(self, partitions: Collection[int]) -> dict[int, Opened]:
        """Return the state that counts of each partition, and open it.

        Raises:
            SnapshotRefused: there are states, and none that this build and configuration may go on from.
            TimeoutError: the topic could not be read to its end.
        """
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        await consumer.start()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                ledgers = {partition: Ledger(partition) for partition in partitions}
                consumer.assign([TopicPartition(self.topic, partition) for partition in partitions])
                await self._read(consumer, ledgers)
                chosen = {partition: self._choose(ledger) for partition, ledger in ledgers.items()}
                opened = await self._open(chosen)
                # Others may have written between our reading and our opening: look again, up to our opening.
                await self._read(consumer, ledgers, opened)
                again = {partition: self._choose(ledger) for partition, ledger in ledgers.items()}
                opened.update(await self._open({p: best for p, best in again.items() if _id(best) != _id(chosen[p])}))
                ends = await consumer.end_offsets([TopicPartition(self.inbox, partition) for partition in ledgers])
                self._shelves.update({partition: ledger.shelf() for partition, ledger in ledgers.items()})
                return {
                    partition: Opened(
                        best,
                        opened[partition],
                        best.position if best and best.clean else ends[TopicPartition(self.inbox, partition)],
                    )
                    for partition, best in again.items()
                }
        finally:
            await consumer.stop()

    def _choose(self, ledger: Ledger) -> Snapshot | None:
        return ledger.best(self.version, self._migrates, f"{self.topic}/{ledger.partition}")

    async def _open(self, chosen: Mapping[int, Snapshot | None]) -> dict[int, int]:
        rows = []
        for partition, best in chosen.items():
            opening = Opening(*self.version, begins=None if best is None else best.snapshot)
            rows.append((self.topic, partition, opened_key(partition), msgspec.json.encode(opening), ()))
        return dict(zip(chosen, await self._publisher.send_all(rows), strict=True))

    async def _read(
        self, consumer: AIOKafkaConsumer, ledgers: Mapping[int, Ledger], until: Mapping[int, int] | None = None
    ) -> None:
        """Read each partition to its end, or up to the offset in `until`."""
        tps = {partition: TopicPartition(self.topic, partition) for partition in ledgers}
        if until is None:
            ends = await consumer.end_offsets(list(tps.values()))
            goals = {partition: ends[tp] for partition, tp in tps.items()}
        else:
            goals = dict(until)
        waiting = {partition for partition, goal in goals.items() if goal > 0}
        while True:
            for partition in list(waiting):
                if await consumer.position(tps[partition]) >= goals[partition]:
                    waiting.discard(partition)
            if not waiting:
                return
            fetched = await consumer.getmany(*(tps[partition] for partition in waiting), timeout_ms=200)
            for tp, records in fetched.items():
                ledger = ledgers[tp.partition]
                for record in records:
                    ledger.read(record.offset, record.key, record.value)

    async def save(self, partition: int, position: int, data: bytes, *, opened: int, clean: bool) -> int:
        """Write a set, manifest last, then delete what is not needed any more; return the bytes written.

        Raises:
            PublishError: it could not be written.
        """
        snapshot, rows = await asyncio.to_thread(
            rows_of,
            partition,
            position,
            data,
            version=self.version,
            clean=clean,
            opened=opened,
            token=uuid.uuid4().hex[:12],
            now_ms=time.time_ns() // 1_000_000,
        )
        for key, value in rows:  # one by one, each acknowledged: the manifest stands behind its pieces
            await self._send([(key, value)], partition)
        doomed = self._shelves.setdefault(partition, Shelf()).add(snapshot, tuple(key for key, _ in rows))
        if doomed:
            await self._send([(key, None) for key in doomed], partition)
        return sum(len(value or b"") for _, value in rows)

    async def _send(self, rows: Sequence[Row], partition: int) -> None:
        await self._publisher.send_all([(self.topic, partition, key, value, ()) for key, value in rows])
