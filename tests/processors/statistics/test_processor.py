"""The role on the real inbox core: order, restarts and repeats change nothing, and the recount finds what was lost."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.inbox import partition_of
from processors.protocols import Meta
from processors.statistics.figures import completed
from processors.statistics.processor import StatisticsProcessor
from processors.statistics.recount import Recount, difference
from replay.chain import Chain
from schemas.codec import BadRecord, decode, encode
from schemas.leaders import LeaderEvent
from schemas.reasons import Leg, Side
from schemas.statistics import FollowerEquity, Statistics
from schemas.status import Fill
from streams.topics_admin import load_catalogue
from tests.processors.statistics.stories import (
    ACTION,
    NOW_MS,
    counted,
    equity,
    fill,
    follows,
    interleaved,
    leads,
    outcome,
    worlds,
)

TOPICS = load_catalogue().topics
STORY: list[Any] = [
    leads(1, ACTION.ENTRY, Side.BUY, "100", "2", "2", equity="1000"),
    follows(),
    equity("500"),
    fill(1, Leg.ENTRY, fee="1"),
    outcome(1, delay_ms=20, bps="3"),
    follows(subscription="bob/lead"),
    equity("700", subscription="bob/lead"),
    fill(1, Leg.ENTRY, fee="1", subscription="bob/lead"),
    outcome(1, delay_ms=30, bps="4", subscription="bob/lead"),
    leads(2, ACTION.EXIT, Side.SELL, "110", "2", "0"),
    fill(2, Leg.EXIT, "10", "1", at=10),
    fill(2, Leg.EXIT, "-4", "1", at=10, subscription="bob/lead"),
]


def told_elsewhere(record: Any) -> str | None:
    """The topic on which a record stands first; None for one that stands on copy-results alone."""
    if isinstance(record, LeaderEvent):
        return "account-events"
    if isinstance(record, FollowerEquity):
        return None
    return "order-status" if isinstance(record, Fill) else "outcomes"


class Log:
    """The topics as leaders and accounts fill them, and the statistics role on them."""

    def __init__(self, **chain: Any) -> None:
        self.chain = Chain(TOPICS, [StatisticsProcessor()], **chain)
        self._stamps: Counter[str] = Counter()
        self._sent: dict[tuple[str, str, int], bytes] = {}

    def append(self, record: Any, *, lost: bool = False, elsewhere: bool = True) -> None:
        """Append a record to its topics; `lost`: copy-results never gets it."""
        leads_ = isinstance(record, LeaderEvent)
        source = f"leader@{record.leader}" if leads_ else f"account@{record.account}"
        self._stamps[source] += 1
        stamp = b"%d.0" % self._stamps[source]
        topic, key = told_elsewhere(record), record.leader if leads_ else record.account
        if topic is not None and elsewhere:
            count = TOPICS[topic].partitions
            partitions = range(count) if leads_ else [partition_of(key.encode(), count)]
            for partition in partitions:
                self._write(topic, partition, record, source, stamp)
        if not lost:
            inbox = partition_of(record.leader.encode(), TOPICS["copy-results"].partitions)
            self._write("copy-results", inbox, record, source, stamp)

    def _write(self, topic: str, partition: int, record: Any, source: str, stamp: bytes) -> None:
        before = self._sent.get((source, topic, partition))
        self._sent[source, topic, partition] = stamp
        headers = [("src", source.encode()), ("st", stamp), *([("pv", before)] if before else [])]
        self.chain.append(topic, partition, encode(record), headers)

    def told(self) -> dict[str, Statistics]:
        self.chain.settle()
        latest: dict[str, Statistics] = {}
        for part in self.chain.log.values("statistics"):
            for value in part:
                assert value is not None
                message = decode(value)
                latest[message.subject] = message
        return completed(latest)

    def recounted(self, topics: list[str]) -> dict[str, Statistics]:
        recount = Recount()
        for topic in topics:
            for partition, records in enumerate(self.chain.log.partitions[topic]):
                for record in records:
                    assert record.value is not None
                    recount.take(topic, partition, decode(record.value), record.headers)
        return recount.result()

    def difference(self, topics: list[str] | None = None) -> list[str]:
        return difference(
            self.told(), self.recounted(topics or ["account-events", "order-status", "outcomes", "copy-results"])
        )


def run(records: list[Any], *, each: bool = False, **chain: Any) -> Log:
    """A settled log of the records; `each`: settled after each of them."""
    log = Log(**chain)
    for record in records:
        log.append(record)
        if each:
            log.chain.settle()
    log.chain.settle()
    return log


# -- nothing depends on interleaving, repeats and restarts
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_interleaving_does_not_matter(data: st.DataObject) -> None:
    streams = data.draw(worlds())
    assert counted(data.draw(interleaved(streams))) == counted([record for stream in streams for record in stream])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_recount_finds_no_difference(data: st.DataObject) -> None:
    streams = data.draw(worlds())
    topics = data.draw(st.permutations(["account-events", "order-status", "outcomes", "copy-results"]))
    log = run(data.draw(interleaved(streams)), twice=data.draw(st.booleans()))
    assert log.difference(topics) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_restarts_and_repeats_say_the_same(data: st.DataObject) -> None:
    records = data.draw(interleaved(data.draw(worlds())))
    straight, twice = run(records, each=True), run(records, each=True, twice=True)
    restarted = run(records, each=True, restart_every=1)
    assert restarted.chain.emitted == straight.chain.emitted
    assert twice.chain.emitted == straight.chain.emitted


def test_state_comes_back_as_the_same_bytes() -> None:
    processor = StatisticsProcessor()
    state = processor.initial(0)
    for offset, record in enumerate(STORY):
        processor.step(state, record, Meta(record.now_ms, 0, offset))
    data = processor.encode(state)
    assert processor.encode(processor.decode(data)) == data
    assert processor.decode(data) == state


# -- the recount finds what is wrong
def test_the_story_has_no_difference() -> None:
    log = run(STORY)
    told = log.told()
    assert log.difference() == []
    assert told["leader:lead"].copiers_realized_pnl == 6
    assert told["leader:lead"].rank == 1


@pytest.mark.parametrize(
    ("lost", "seen"),
    [
        (3, "subscription:ann/lead: fees was told as 1, counted as 2"),
        (4, "subscription:ann/lead: copied was told as 0, counted as 1"),
        (5, "leader:lead: followers was told as 1, counted as 2"),
        (9, "leader:lead: realized_pnl was told as 0, counted as 20"),
        (11, "leader:lead: copiers_realized_pnl was told as 10, counted as 6"),
    ],
)
def test_a_lost_record_is_a_difference(lost: int, seen: str) -> None:
    log = Log()
    for number, record in enumerate(STORY):
        log.append(record, lost=number == lost)
    assert any(line.startswith(seen) for line in log.difference()), log.difference()


def test_a_record_that_was_never_told_elsewhere_is_a_difference() -> None:
    log = Log()
    for number, record in enumerate(STORY):
        log.append(record, elsewhere=number != 10)
    assert "subscription:ann/lead: trades was told as 1, counted as 0" in log.difference()


def test_a_follower_told_again_later_counts_once() -> None:
    recount = Recount()
    for number, status in ((1, "active"), (2, "stopped"), (1, "active")):
        headers = [("src", b"account@account-events/0"), ("st", b"%d.0" % number)]
        recount.take("outcomes", 0, follows(status), headers)
    assert recount.result()["subscription:ann/lead"].followers == 0


def test_a_fill_told_twice_under_new_stamps_counts_once() -> None:
    recount = Recount()
    for number in (1, 2):
        recount.take("order-status", 0, fill(1, Leg.EXIT, "5"), [("src", b"a"), ("st", b"%d.0" % number)])
    assert recount.result()["subscription:ann/lead"].trades == 1


def test_subjects_of_one_side_are_differences() -> None:
    told = run(STORY).told()
    some = {subject: one for subject, one in told.items() if subject != "subscription:bob/lead"}
    assert difference(told, some) == ["subscription:bob/lead: told, but nothing of it was counted"]
    assert difference(some, told) == ["subscription:bob/lead: counted, but never told"]


# -- what is told when
def step_all(records: list[Any]) -> list[list[str]]:
    processor = StatisticsProcessor()
    state = processor.initial(0)
    now_ms, told = 0, []
    for offset, record in enumerate(records):
        now_ms = max(now_ms, record.now_ms)
        told.append([out.key for out in processor.step(state, record, Meta(now_ms, 0, offset))])
    return told


def test_a_leader_is_told_for_its_followers_once_a_second() -> None:
    ann, bob, lead = "subscription:ann/lead", "subscription:bob/lead", "leader:lead"
    assert step_all(
        [
            fill(1),
            fill(1, subscription="bob/lead", at=999),
            fill(2, at=1_000),
            fill(3, at=1_001),
            leads(1, ACTION.ENTRY, Side.BUY, "100", at=1_002),
            fill(4, at=2_001),
            fill(5, at=2_002),
        ]
    ) == [[ann, lead], [bob], [ann, lead], [ann], [lead], [ann], [ann, lead]]


def test_what_changes_nothing_is_not_told() -> None:
    told = step_all(
        [follows(), follows(at=5), equity("5", at=6), equity("6", at=7), leads(1, ACTION.ENTRY, Side.BUY, "1")]
    )
    assert [len(keys) for keys in told] == [2, 0, 1, 0, 1]


def test_a_bad_record_leaves_the_state_as_it_was() -> None:
    processor = StatisticsProcessor()
    state = processor.initial(0)
    for offset, record in enumerate(STORY[:8]):
        processor.step(state, record, Meta(record.now_ms, 0, offset))
    before = processor.encode(state)
    bad = [
        fill(9, Leg.EXIT, "1", "NaN"),
        outcome(9, delay_ms=1, bps="Infinity"),
        equity("NaN", at=90_000_000),
        leads(9, ACTION.EXIT, Side.SELL, "100", "1", "NaN"),
        leads(9, ACTION.EXIT, Side.SELL, "1e12", "1e12", "0"),
    ]
    for record in bad:
        with pytest.raises(BadRecord):
            processor.step(state, record, Meta(NOW_MS, 0, 99))
        assert processor.encode(state) == before


def test_the_interval_is_part_of_the_configuration() -> None:
    assert StatisticsProcessor().config_hash != StatisticsProcessor(1_000).config_hash
