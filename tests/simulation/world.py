"""A world without a broker: logs, writers, inboxes, snapshots, kills and zombies, run by one seeded schedule.

in (edge, 2 partitions) -> first -> mid (2 partitions, stamped) -> second -> out. The inbox core, the snapshot ledger
and its rows are the real ones; a worker's life is a generator that can be cut, frozen or overtaken at every `yield`.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from processors.inbox import Inbox, InboxCore, LogHole, Record, StreamHole, partition_of, read_stamp
from processors.protocols import ALL, BY_KEY, Meta, Out
from schemas.codec import decode, encode
from schemas.market import Clock
from streams import snapshots
from streams.snapshots import Ledger, Opening, SnapshotRefused, Version, opened_key, rows_of
from tests.streams import toy

INPUTS = 16
TOPICS = toy.topics("", 2, 2)
PIECE_BYTES = 60


class Wrong(AssertionError):
    """What the simulation looks for."""


class SimToy(toy.Toy):
    """Writes often, to few places, and otherwise in every configuration."""

    def __init__(self, name: str, inbox: str, target: str, build: str) -> None:
        super().__init__(name, inbox, target, config_hash=build)

    def step(self, state: toy.State, event: Any, meta: Meta) -> list[Out]:
        super().step(state, event, meta)
        state.digest = f"{self.config_hash}{state.digest}"[:10]
        kinds = event.position * 7 + state.count + len(self.config_hash)
        keys = ["*"] * (kinds % 3 == 0) + [f"k{n}" for n in range(kinds % 3)]
        return [
            Out(
                self.target,
                key,
                Clock(now_ms=meta.now_ms, feed=f"{meta.partition}:{state.digest}", position=state.count * 10 + index),
                ALL if key == "*" else BY_KEY,
            )
            for index, key in enumerate(keys)
        ]


def core_of(role: str, build: str) -> InboxCore:
    names = {"first": ("in", "mid"), "second": ("mid", "out")}[role]
    return InboxCore(SimToy(role, *names, build), TOPICS)


@dataclass
class Partition:
    """What one role does with one partition of its inbox, over all its incarnations."""

    role: str
    number: int
    shelf: list[tuple[int, bytes, bytes | None]] = field(
        default_factory=list
    )  # the snapshots topic: offset, key, value
    next_offset: int = 0
    owner: "Life | None" = None
    zombies: list["Life"] = field(default_factory=list)
    build: str = "a"
    boundaries: list[tuple[int, str]] = field(default_factory=lambda: [(0, "a")])
    committed: int = 0
    had_snapshot: bool = False
    dirty: bool = False

    def __post_init__(self) -> None:
        self.watch = Ledger(self.number)

    def write(self, key: bytes, value: bytes | None) -> int:
        self.shelf.append((self.next_offset, key, value))
        self.watch.read(self.next_offset, key, value)
        self.dirty = self.dirty or key.endswith(b"manifest")  # written or deleted
        self.next_offset += 1
        return self.next_offset - 1

    def ledger(self, until: int | None = None) -> Ledger:
        ledger = Ledger(self.number)
        for offset, key, value in self.shelf:
            if until is None or offset < until:
                ledger.read(offset, key, value)
        return ledger

    def compact(self, chance: random.Random) -> None:
        """What a log cleaner does: only the last record of a key stays, tombstones may go as well."""
        last = {key: offset for offset, key, _ in self.shelf}
        self.shelf = [
            row for row in self.shelf if last[row[1]] == row[0] and (row[2] is not None or chance.random() < 0.5)
        ]


class World:
    """One schedule. The rates are of kills, of zombies among the killed, of batches lost under later ones, and of clean
    stops after which another configuration may start. `seek` "committed" (go to the group's offset) and
    `trust_closing` (every closed state is clean) are mutations.
    """

    def __init__(
        self,
        seed: int,
        *,
        kills: float = 0.03,
        zombie: float = 0.5,
        lose: float = 0.05,
        stops: float = 0.0,
        seek: str = "state",
        trust_closing: bool = False,
    ) -> None:
        self.chance = random.Random(seed)
        self.kills, self.zombie, self.lose, self.stops = kills, zombie, lose, stops
        self.seek, self.trust_closing = seek, trust_closing
        self.logs: dict[tuple[str, int], list[Record]] = {
            (topic, number): [] for topic in ("in", "mid", "out") for number in range(2)
        }
        for number in range(2):
            for offset in range(INPUTS):
                value = encode(Clock(now_ms=self.chance.randrange(1000), feed=f"f{offset}", position=offset))
                self.logs["in", number].append(Record(offset, value))
        self.partitions = [Partition(role, number) for role in ("first", "second") for number in range(2)]
        self.tokens = 0

    # -- a worker's life on one partition
    def life(self, part: Partition, build: str, stop: Callable[[], bool]) -> Iterator[str]:
        core, log = core_of(part.role, build), self.logs[{"first": "in", "second": "mid"}[part.role], part.number]
        version = Version("program", build, 1)
        best = part.ledger().best(version)
        yield "read"
        opened = part.write(opened_key(part.number), opening(version, best))
        ledger = part.ledger(until=opened)
        again = ledger.best(version)
        if identity(again) != identity(best):
            opened = part.write(opened_key(part.number), opening(version, again))
        best, shelf = again, ledger.shelf()
        if part.boundaries[-1][1] != build:
            part.boundaries.append((best.position if best else 0, build))
        clean_from = best.position if best and best.clean else len(log)
        if self.trust_closing:
            clean_from = 0
        inbox = core.decode(best.state) if best else core.new(part.number)
        if self.seek == "committed" and part.committed > inbox.position:
            inbox.position = part.committed
        yield "loaded"
        while True:
            batch = log[inbox.position : inbox.position + self.chance.randint(1, 4)]
            if not batch and stop():
                yield from self._save(part, core, inbox, version, opened, shelf, inbox.position >= clean_from)
                return
            if not batch:
                yield "idle"
                continue
            if self.chance.random() < 0.2 and inbox.position:  # a fetch that begins too early
                batch = log[inbox.position - 1 : batch[-1].offset + 1]
            emits = [emit for emit in core.apply(inbox, batch) if emit.topic in ("mid", "out")]
            failed = False
            losing = self.chance.randrange(2) if self.chance.random() < self.lose else None
            lost_of = self.chance.randint(1, 3)
            for emit in emits:
                if emit.partition == losing and lost_of > 0:
                    lost_of, failed = lost_of - 1, True  # this batch expired; later ones land
                    continue
                target = self.logs[emit.topic, emit.partition]
                target.append(Record(len(target), emit.value, emit.headers))
                yield "published"
            if failed:
                return
            part.committed = inbox.position
            if self.chance.random() < 0.4:
                yield from self._save(part, core, inbox, version, opened, shelf, False)
            if stop() and self.chance.random() < 0.5:
                yield from self._save(part, core, inbox, version, opened, shelf, inbox.position >= clean_from)
                return
            yield "applied"

    def _save(
        self, part: Partition, core: InboxCore, inbox: Inbox, version: Version, opened: int, shelf: Any, clean: bool
    ) -> Iterator[str]:
        self.tokens += 1
        snapshot, rows = rows_of(
            part.number,
            inbox.position,
            core.encode(inbox),
            version=version,
            clean=clean,
            opened=opened,
            token=f"{self.tokens:04d}",
            now_ms=0,
            size=PIECE_BYTES,
        )
        yield "encoded"
        for key, value in rows:
            part.write(key, value)
            yield "piece"
        for key in shelf.add(snapshot, tuple(key for key, _ in rows)):
            part.write(key, None)
            yield "deleted"

    # -- the schedule
    def run(self) -> "World":
        for step in range(12_000):
            if step == 2500:  # a quiet end, so that every schedule comes to rest
                self.kills = self.lose = self.stops = 0.0
            if step % 8 == 0 and self._at_rest() and self._all_read():
                return self
            part = self.chance.choice(self.partitions)
            self._turn(part)
            if step % 50 == 0:
                part.compact(self.chance)
            self._look_at_snapshots(part)
        raise Wrong("did not come to rest")

    def _at_rest(self) -> bool:
        return all(part.owner and part.owner.state == "idle" and not part.zombies for part in self.partitions)

    def _all_read(self) -> bool:
        return all(
            part.owner is not None
            and part.owner.read_all(self.logs[{"first": "in", "second": "mid"}[part.role], part.number])
            for part in self.partitions
        )

    def _turn(self, part: Partition) -> None:
        chance = self.chance
        if part.zombies and chance.random() < (0.3 if self.kills else 0.7):
            zombie = chance.choice(part.zombies)
            if not zombie.advance() or (
                zombie.state in ("applied", "idle") and (self.stops or not self.kills or chance.random() < 0.3)
            ):
                part.zombies.remove(zombie)  # it notices that it slept, or was told in the rebalance
            return
        if part.owner is None:
            if self.stops and chance.random() < 0.3:
                part.build = chance.choice("ab")
            part.owner = Life(self, part, part.build)
        elif chance.random() < self.kills:
            if chance.random() < self.zombie and part.owner.state not in ("new", "read"):
                part.zombies.append(part.owner)
            part.owner = None
            return
        elif chance.random() < self.stops:
            part.owner.stopping = True
        try:
            if not part.owner.advance():
                part.owner = None
        except SnapshotRefused:
            part.build = part.boundaries[-1][1]  # what the message says: the previous one first
            part.owner = None

    def _look_at_snapshots(self, part: Partition) -> None:
        if not part.dirty:
            return
        part.dirty, whole = False, part.watch.complete()
        if part.had_snapshot and not whole:
            raise Wrong(f"{part.role}/{part.number}: no whole snapshot any more")
        part.had_snapshot = part.had_snapshot or bool(whole)

    # -- the proof
    def check(self) -> "World":
        """Compare with oracles that know neither watermarks nor snapshots."""
        for role, source, target in (("first", "in", "mid"), ("second", "mid", "out")):
            wanted: dict[tuple[int, str], list[bytes]] = {}
            for part in self.partitions:
                if part.role != role:
                    continue
                records = self.logs[source, part.number]
                state, values = self._oracle(part, records if role == "first" else self._admissible(part.number))
                for destination, value in values:
                    wanted.setdefault((destination, f"{role}@{source}/{part.number}"), []).append(value)
                assert part.owner is not None
                found = part.owner.inbox_state()
                if msgspec.msgpack.encode(found) != msgspec.msgpack.encode(state):
                    raise Wrong(f"{role}/{part.number}: state is {found}, must be {state}")
            for number in range(2):
                self._check_target(role, target, number, wanted)
            if role == "first":
                self.wanted_mid = wanted
        return self

    def _check_target(self, role: str, target: str, number: int, wanted: dict[tuple[int, str], list[bytes]]) -> None:
        firsts: dict[str, dict[tuple[int, int], bytes | None]] = {}
        for record in self.logs[target, number]:
            stamped = read_stamp(record.headers)
            assert stamped is not None
            before = firsts.setdefault(stamped.source, {}).setdefault(stamped.stamp, record.value)
            if before != record.value:
                raise Wrong(f"{target}/{number}: repeat of {stamped} differs")
        for (destination, source), values in wanted.items():
            if destination == number:
                found = [value for _, value in sorted(firsts.get(source, {}).items())]
                if found != values:
                    raise Wrong(f"{target}/{number}: {len(found)} outputs of {source}, must be {len(values)}")

    def _admissible(self, number: int) -> list[Record]:
        """Which records of mid count: of each source the next one that is wanted, whatever stands between."""
        pointers = {source: iter(values) for (to, source), values in self.wanted_mid.items() if to == number}
        nexts = {source: next(values, None) for source, values in pointers.items()}
        found = []
        for record in self.logs["mid", number]:
            stamped = read_stamp(record.headers)
            assert stamped is not None
            if record.value == nexts[stamped.source]:
                found.append(record)
                nexts[stamped.source] = next(pointers[stamped.source], None)
        return found

    def _oracle(self, part: Partition, records: list[Record]) -> tuple[toy.State, list[tuple[int, bytes]]]:
        toys = {build: core_of(part.role, build).processor for build in "ab"}
        state, now_ms, outputs = toys["a"].initial(part.number), 0, []
        for record in records:
            build = [name for position, name in part.boundaries if position <= record.offset][-1]
            event = decode(record.value or b"")
            now_ms = max(now_ms, event.now_ms)
            for out in toys[build].step(state, event, Meta(now_ms, part.number, record.offset)):
                value = encode(out.value)
                places = range(2) if out.partition == ALL else [partition_of(out.key.encode(), 2)]
                assert out.partition in (ALL, BY_KEY)
                outputs += [(place, value) for place in places]
        return state, outputs


class Life:
    """One incarnation."""

    def __init__(self, world: World, part: Partition, build: str) -> None:
        self.state, self.stopping = "new", False
        self._steps = world.life(part, build, lambda: self.stopping)

    def advance(self) -> bool:
        """Go to the next yield; False when it ended."""
        try:
            self.state = next(self._steps)
        except StopIteration:
            return False
        except (StreamHole, LogHole) as error:
            raise Wrong(f"{type(error).__name__}: {error}") from error
        return True

    def read_all(self, log: list[Record]) -> bool:
        return self._inbox().position == len(log)

    def inbox_state(self) -> toy.State:
        return self._inbox().state

    def _inbox(self) -> Inbox:
        return self._steps.gi_frame.f_locals["inbox"]


def opening(version: Version, best: snapshots.Snapshot | None) -> bytes:
    return msgspec.json.encode(Opening(*version, begins=identity(best)))


def identity(best: snapshots.Snapshot | None) -> str | None:
    return None if best is None else best.snapshot
