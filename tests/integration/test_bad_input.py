"""Bad records on a running pipeline: parked with reason and place, counted, nothing else delayed, no worker ends.

An outsider writes to `market-data` what nobody should. The feed runs on meanwhile; signals, orders and fills go on.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from cli.exit_codes import ExitCode
from processors.inbox import partition_of
from schemas.codec import decode
from streams.timebase import TimeBase
from tests.integration.runs import Run, query, until, written

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000
FEED = ("--feed", "simulated", "--symbols", "4", "--rate", "40", "--seed", "7", "--speed", "10")
FED = "sim:S0001/USD"  # the feed writes it as well
OTHER = "outside:X/USD"


class Bad(NamedTuple):
    name: str
    value: Any  # bytes, None, or fields that replace those of a good trade (None: the field is left out)
    reason: str  # pattern in the reason


BAD = (
    Bad("malformed", b'{"type":"trade","now_ms":', "truncated"),
    Bad("not json", b"\x00\x01\x02\xff\xfe", "DecodeError"),
    Bad("invalid utf-8", b'{"type":"trade","instrument":"\xc3\x28"}', "(?i)utf|decode"),
    Bad("empty", b"", "truncated"),
    Bad("tombstone", None, "tombstone"),
    Bad("array", b"[1,2,3]", "object"),
    Bad("deep", b'{"type":"trade","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "Recursion|unknown field|missing"),
    Bad("unknown type", {"type": "cake"}, "cake"),
    Bad("type of another topic", {"type": "order"}, "order"),
    Bad("no type", {"type": None}, "type"),
    Bad("newer schema", {"v": 99}, "schema version 99"),
    Bad("version zero", {"v": 0}, "schema version 0"),
    Bad("missing price", {"price": None}, "price"),
    Bad("missing instrument", {"instrument": None}, "instrument"),
    Bad("unknown field", {"prize": "1"}, "prize"),
    Bad("price is a list", {"price": [1]}, "price"),
    Bad("price is text", {"price": "cheap"}, "(?i)decimal"),
    Bad("price NaN", {"price": "NaN"}, "price"),
    Bad("price infinite", {"price": "Infinity"}, "price"),
    Bad("price negative", {"price": "-1"}, "price"),
    Bad("price zero", {"price": "0"}, "price"),
    Bad("price absurd", {"price": "1e300"}, "absurd"),
    Bad("price tiny", {"price": "1e-400"}, "absurd"),
    Bad("size negative", {"size": "-3"}, "size"),
    Bad("size zero", {"size": "0"}, "size"),
    Bad("size absurd", {"size": "1e30"}, "absurd size"),
    Bad("size of 5000 digits", {"size": "1" * 5_000}, "absurd size"),
    Bad("size NaN", {"size": "nan"}, "size"),
    Bad("side", {"side": "up"}, "side"),
    Bad("id is text", {"id": "seven"}, "id"),
    Bad("id negative", {"id": -1}, "id"),
    Bad("id huge", {"id": 10**30}, "id|integer|range"),
    Bad("ts huge", {"ts": 10**17}, "ts"),
    Bad("ts negative", {"ts": -5}, "ts"),
    Bad("now_ms negative", {"now_ms": -1}, "now_ms"),
    Bad("now_ms in ns", {"now_ms": 10**18}, "now_ms"),
    Bad("now_ms missing", {"now_ms": None}, "now_ms"),
    Bad("name too long", {"instrument": "x:" + "y" * 300}, "instrument name"),
    Bad("name empty", {"instrument": ""}, "instrument name"),
    Bad("900 kB", b"x" * 900_000, "malformed"),
)


def good(now_ms: int, /, **fields: Any) -> dict[str, Any]:
    trade = {
        "type": "trade", "now_ms": now_ms, "instrument": OTHER, "price": "100", "size": "1", "side": "buy", "id": 1,
        "ts": now_ms,
    } | fields  # fmt: skip
    return {name: value for name, value in trade.items() if value is not None}


def as_bytes(case: Bad, now_ms: int) -> bytes | None:
    return json.dumps(good(now_ms, **case.value)).encode() if isinstance(case.value, dict) else case.value


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with Run(tmp_path_factory.mktemp("bad"), *FEED) as run:
        yield run.wait_running()


async def _produce(bootstrap: str, topic: str, key: str, values: list[bytes | None]) -> list[str]:
    """Write from outside, in order; return the places as parked records name them."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=2_000_000) as producer:
        places = []
        for value in values:
            told = await producer.send_and_wait(topic, value, key=key.encode(), partition=partition_of(key.encode(), 4))
            places.append(f"{topic}/{told.partition}/{told.offset}")
        return places


def produce(run: Run, key: str, *values: bytes | None, topic: str = "market-data") -> list[str]:
    return asyncio.run(_produce(run.bootstrap, topic, key, list(values)))


def log_ms(run: Run) -> int:
    return TimeBase.load(run.data_dir).now_ms()


def parked(run: Run) -> dict[str, str]:
    """Return reasons by place."""
    return {message.source: message.reason for message in (decode(r.value) for r in written(run.bootstrap, "parked"))}


def trade(now_ms: int, /, **fields: Any) -> bytes:
    return json.dumps(good(now_ms, **fields)).encode()


def signals(run: Run) -> list[Any]:
    return [decode(record.value) for record in written(run.bootstrap, "signals")]


def test_every_bad_record_is_parked_with_its_reason_and_nothing_else_stops(run: Run) -> None:
    pids = run.pids()
    until(lambda: len(signals(run)) > 2, "the first signals")
    now_ms = log_ms(run)
    places = produce(run, OTHER, *[as_bytes(case, now_ms) for case in BAD])
    until(lambda: set(places) <= set(parked(run)), "all are parked")
    told = parked(run)
    wrong = [(case.name, told[place]) for case, place in zip(BAD, places, strict=True)
             if not re.search(case.reason, told[place])]  # fmt: skip
    assert wrong == []
    assert set(told) == set(places), "nothing else was parked"
    seen = len(signals(run))
    until(lambda: len(signals(run)) > seen, "signals go on")
    assert run.pids() == pids
    assert "starting it again" not in run.said
    assert run.metric("wakeline_parked_total", role="strategy") == len(BAD)


def test_a_time_far_ahead_is_parked_and_time_goes_on(run: Run) -> None:
    before = set(parked(run))
    now_ms = log_ms(run)
    ahead = [now_ms + 2 * DAY_MS, now_ms + 400 * DAY_MS, 10**14]
    places = produce(run, FED, *[trade(ms, instrument=FED, id=10**6, ts=now_ms) for ms in ahead])
    clock = json.dumps({"type": "clock", "now_ms": now_ms + 300 * DAY_MS}).encode()
    produce(run, FED, clock)
    until(lambda: set(places) <= set(parked(run)), "all are parked")
    told = parked(run)
    assert all("ahead of log time" in told[place] for place in places)
    assert set(told) == before | set(places)
    seen = len(signals(run))
    until(lambda: len(signals(run)) > seen + 2, "signals go on")
    assert all(signal.now_ms < now_ms + DAY_MS for signal in signals(run))
    outcomes = [decode(record.value) for record in written(run.bootstrap, "outcomes")]
    assert all(outcome.now_ms < now_ms + DAY_MS for outcome in outcomes)


def held(run: Run) -> str:
    """Return an instrument in which an account has a position, if there is one."""
    sizes = {
        (message.account, message.instrument): message.size
        for message in (decode(record.value) for record in written(run.bootstrap, "order-status"))
        if type(message).__name__ == "PositionChanged"
    }
    return next((instrument for (_, instrument), size in sizes.items() if size != 0), "")


def test_an_absurd_price_fills_nothing(run: Run) -> None:
    instrument = until(lambda: held(run), "a position whose stop-loss could be hit")
    now_ms = log_ms(run)
    values = []
    for number, price in enumerate(("0.01", "1e12"), 10**6):
        quote = {"type": "quote", "bid": price, "ask": price, "bid_size": "9", "ask_size": "9"}
        gone = dict.fromkeys(("price", "size", "side"))
        values.append(trade(now_ms, instrument=instrument, id=number, **quote, **gone))
        values.append(trade(now_ms, instrument=instrument, id=number, price=price))
    places = produce(run, instrument, *values)
    until(lambda: set(places) <= set(parked(run)), "all are parked")
    seen = len(signals(run))
    until(lambda: len(signals(run)) > seen + 8, "signals go on")
    fills = [decode(record.value) for record in written(run.bootstrap, "order-status")]
    found = [fill.price for fill in fills if type(fill).__name__ == "Fill"]
    assert found and all(1 < price < 100_000 for price in found), found


def test_duplicates_disorder_and_unknown_instruments_are_no_failure(run: Run) -> None:
    before = set(parked(run))
    now_ms = log_ms(run)
    steps = [(10, 0), (12, 10), (11, 5), (10, 0), (12, 10), (13, -3_000), (14, -60_000), (15, 20)]
    produce(run, OTHER, *[trade(now_ms, id=number, ts=now_ms + step) for number, step in steps])
    produce(run, OTHER, *[trade(now_ms - 50_000 - n, id=20 + n) for n in range(3)])
    seen = len(signals(run))
    until(lambda: len(signals(run)) > seen, "signals go on")
    assert set(parked(run)) == before


def test_a_record_beyond_the_broker_s_limit_is_refused_to_its_producer(run: Run) -> None:
    async def too_large() -> None:
        async with AIOKafkaProducer(bootstrap_servers=run.bootstrap, max_request_size=20_000_000) as producer:
            await producer.send_and_wait("market-data", b"x" * 10_000_000, key=b"k")

    with pytest.raises(MessageSizeTooLargeError):
        asyncio.run(too_large())


def test_the_summary_and_clickhouse_count_them(run: Run) -> None:
    count = len(parked(run))
    log = run.log()
    summary = run.end()
    assert summary["parked"] == count >= len(BAD)
    rows = query(run.data_dir, "SELECT count() AS n, uniqExact(source) AS places FROM parked")
    assert (int(rows[0]["n"]), int(rows[0]["places"])) == (count, count)
    assert "Traceback" not in log


INSIDE = ("leader-events", "account-events", "orders")


def test_the_next_start_goes_on_and_an_inner_inbox_parks_too_until_a_newer_schema_ends_it(run: Run) -> None:
    """The same folder again: no time of an outsider has become log time, and nothing is parked twice."""
    with Run(run.data_dir, *FEED) as again:
        again.wait_running()
        before = parked(again)
        known = {signal.signal_id: signal.now_ms for signal in signals(again)}
        latest_ms = max(known.values())
        until(lambda: len(signals(again)) > len(known) + 2, "signals go on")
        assert log_ms(again) < latest_ms + DAY_MS
        assert all(signal.now_ms < latest_ms + DAY_MS for signal in signals(again))
        pids = again.pids()
        places = [produce(again, "paper-alice", b"{not json", None, topic=topic) for topic in INSIDE]
        until(lambda: {place for pair in places for place in pair} <= set(parked(again)), "all are parked")
        assert set(parked(again)) == set(before) | {place for pair in places for place in pair}
        seen = len(signals(again))
        until(lambda: len(signals(again)) > seen, "signals go on")
        assert again.pids() == pids and "starting it again" not in again.said
        assert all(again.metric("wakeline_parked_total", role=role) == 2 for role in ("leader", "account", "execution"))
        newer = b'{"type":"signal","v":99,"now_ms":1}'
        produce(again, "demo", newer, topic="leader-events")
        code, line = again.refused()
    assert code == ExitCode.VERSION, again.said
    assert "schema version 99, this build reads up to 1: upgrade this worker" in line
