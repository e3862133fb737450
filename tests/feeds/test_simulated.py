"""The simulated market: seeds, bytes, prices."""

import hashlib
from collections import Counter
from itertools import islice

import pytest

from schemas.codec import decode, encode
from schemas.market import Quote, Trade
from streams.feeds.params import FeedParams
from streams.feeds.simulated import SimulatedFeed

ORIGIN = 1_800_000_000_000


def feed_of(**more):
    return SimulatedFeed(FeedParams(kind="simulated", **more))


def values(count, **more):
    return [record.value for record in islice(feed_of(**more).records(ORIGIN), count)]


def test_bytes_are_those_of_the_codec():
    for record in islice(feed_of(instruments=40).records(ORIGIN), 5_000):
        message = decode(record.value)
        assert encode(message) == record.value
        assert (message.instrument, message.id, message.now_ms) == (record.key, record.ident, record.now_ms)
        assert record.kind == (0 if isinstance(message, Trade) else 1)


def test_the_seed_decides_every_byte():
    assert values(3_000, seed=5) == values(3_000, seed=5)
    assert values(300, seed=5) != values(300, seed=6)
    # The same on every machine and in every release: a change here changes what recorded runs were made of.
    digest = hashlib.sha256(b"".join(values(3_000, seed=5))).hexdigest()
    assert digest == "0cb661ee8f9667935be82cd16058086512f3bcafcb77fc35fa911fb91e5e09bf"


def test_ids_rise_by_one_and_times_follow_the_rate():
    last = Counter()
    for position, record in enumerate(islice(feed_of(instruments=7, rate=4_000).records(ORIGIN), 20_000)):
        assert record.now_ms == ORIGIN + position // 4
        last[record.kind, record.key] += 1
        assert record.ident == last[record.kind, record.key]
    assert len({key for _, key in last}) == 7
    trades = sum(count for (kind, _), count in last.items() if kind == 0)
    assert 0.2 < trades / 20_000 < 0.3


def test_prices_make_a_market():
    touch = {}
    moved = 0
    for record in islice(feed_of(instruments=3, rate=10, volatility=0.5).records(ORIGIN), 30_000):
        message = decode(record.value)
        if isinstance(message, Quote):
            assert 0 < message.ask - message.bid <= 4
            moved += touch.get(record.key) != message.bid
            touch[record.key] = message.bid
        else:
            assert message.size > 0
    assert moved > 10_000


@pytest.mark.parametrize("after", [-1, 0, 1, 4_999, 5_000, 12_345])
def test_going_on_behind_any_position_gives_the_same_records(after):
    feed = feed_of(instruments=20)
    whole = list(islice(feed.records(ORIGIN), 12_400))
    assert list(islice(feed.records(ORIGIN, after), 20)) == whole[after + 1 : after + 21]


def test_instruments_by_number_and_by_name():
    assert feed_of(instruments=12).names[-1] == "sim:S0012/USD"
    named = feed_of(instruments=("sim:A/USD", "sim:B/USD"))
    assert {record.key for record in islice(named.records(ORIGIN), 100)} == {"sim:A/USD", "sim:B/USD"}
    assert [rule.instrument for rule in named.instruments(1)] == ["sim:A/USD", "sim:B/USD"]
    assert named.name != feed_of(instruments=2).name


def test_volatility_is_that_of_a_day():
    """A day's return of many instruments has about the standard deviation asked for."""
    count, days = 400, 1
    feed = feed_of(instruments=count, rate=count / 60, volatility=0.04)
    first, last = {}, {}
    for record in islice(feed.records(ORIGIN), count * 60 * 24 * days):
        message = decode(record.value) if record.kind == 0 else None
        if message is not None:
            first.setdefault(record.key, float(message.price))
            last[record.key] = float(message.price)
    returns = [last[key] / first[key] - 1 for key in first]
    deviation = (sum(r * r for r in returns) / len(returns)) ** 0.5
    assert 0.034 < deviation < 0.046


def test_limit():
    assert len(list(feed_of(limit=25).records(ORIGIN))) == 25
    assert len(list(feed_of(limit=25).records(ORIGIN, after=20))) == 4
    assert list(feed_of(limit=25).records(ORIGIN, after=24)) == []
    assert list(feed_of(limit=25).records(ORIGIN, after=90)) == []
