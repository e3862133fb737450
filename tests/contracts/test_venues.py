"""The contract of every venue in processors/venues/, found by itself; its payloads are in tests/payloads/<venue>/."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import processors.venues
from processors.registry import discover
from schemas.accounts import InstrumentChanged
from schemas.codec import BadRecord, decode, encode
from schemas.market import Quote, Trade

VENUES = discover(processors.venues, "VENUE")
PAYLOADS = Path(__file__).parents[1] / "payloads"


def _cases() -> list[Any]:
    found = []
    for name in VENUES:
        for line in (PAYLOADS / name / "cases.jsonl").read_text().splitlines():
            case = json.loads(line)
            found.append(pytest.param(name, case, id=f"{name}: {case['name']}"))
    return found


def _payload(case: dict[str, Any]) -> bytes:
    return case["payload"].encode("latin-1" if case.get("latin1") else "utf-8")


@pytest.mark.parametrize(("name", "case"), _cases())
def test_payload(name: str, case: dict[str, Any]) -> None:
    mapper = VENUES[name].mapper()
    before = dict(mapper.ignored)
    if "error" in case:
        with pytest.raises(BadRecord) as caught:
            mapper.map(_payload(case), case["now_ms"])
        assert case["error"] in str(caught.value)
        assert len(str(caught.value)) < 1_000
        assert mapper.ignored == before
        return
    found = mapper.map(_payload(case), case["now_ms"])
    assert [json.loads(encode(message)) for message in found] == case.get("messages", [])
    counted = {reason: count - before[reason] for reason, count in mapper.ignored.items() if count != before[reason]}
    assert counted == ({case["ignored"]: 1} if "ignored" in case else {})


@pytest.mark.parametrize("name", VENUES)
def test_cases_show_every_outcome(name: str) -> None:
    cases = [case.values[1] for case in _cases() if case.values[0] == name]
    assert {"messages", "ignored", "error"} <= {key for case in cases for key in case}
    reasons = {case["ignored"] for case in cases if "ignored" in case}
    assert reasons == set(VENUES[name].mapper().ignored), "each reason to give nothing has a case"


@pytest.mark.parametrize("name", VENUES)
def test_messages_are_the_venues_own(name: str) -> None:
    venue = VENUES[name]
    for case in (case.values[1] for case in _cases() if case.values[0] == name):
        if "messages" not in case:
            continue
        for message in venue.mapper().map(_payload(case), case["now_ms"]):
            assert isinstance(message, Trade | Quote)
            assert message.instrument.split(":", 1)[0] == name
            assert message.now_ms == case["now_ms"]
            assert decode(encode(message)) == message


@pytest.mark.parametrize("name", VENUES)
def test_trading_rules_cover_the_known_symbols(name: str) -> None:
    venue = VENUES[name]
    rules = venue.instruments(5)
    assert [rule.instrument for rule in rules] == list(venue.symbols.values())
    for rule in rules:
        assert isinstance(rule, InstrumentChanged)
        assert rule.now_ms == 5
        assert rule.min_size >= rule.lot > 0
        assert decode(encode(rule)) == rule


@pytest.mark.parametrize("name", VENUES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_payloads_are_bad_records_or_nothing(name: str, data: st.DataObject) -> None:
    """Whatever bytes come, a mapper answers with messages that can be encoded, or BadRecord; never another error."""
    cases = [case.values[1] for case in _cases() if case.values[0] == name]
    payload = bytearray(_payload(data.draw(st.sampled_from(cases))))
    for _ in range(data.draw(st.integers(1, 3))):
        if payload:
            place = data.draw(st.integers(0, len(payload) - 1))
            payload[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        found = VENUES[name].mapper().map(bytes(payload), 1)
    except BadRecord:
        return
    for message in found:
        assert decode(encode(message)) == message


def test_binance_symbols_can_be_added() -> None:
    mapper = VENUES["binanceusdm"].mapper({"XRPUSDT": "binanceusdm:XRP/USDT:USDT"})
    payload = (
        b'{"stream":"xrpusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"XRPUSDT","t":1,'
        b'"p":"0.5000","q":"10","X":"MARKET","m":true}}'
    )
    (trade,) = mapper.map(payload, 7)
    assert trade.instrument == "binanceusdm:XRP/USDT:USDT"
    assert str(trade.price) == "0.5000"


def test_binance_aggregated_trades_replace_trades() -> None:
    mapper = VENUES["binanceusdm"].mapper(aggregated=True)
    aggregated = b'{"e":"aggTrade","a":9,"s":"BTCUSDT","p":"1.5","q":"2","f":1,"l":3,"T":1723161256322,"m":true}'
    (trade,) = mapper.map(aggregated, 7)
    assert (trade.id, trade.side, trade.price, trade.size) == (9, "sell", Decimal("1.5"), Decimal(2))
    single = b'{"e":"trade","t":3,"s":"BTCUSDT","p":"1.5","q":"2","T":1723161256322,"m":true,"X":"MARKET"}'
    assert list(mapper.map(single, 7)) == []
    assert mapper.ignored["other_trade_stream"] == 1
