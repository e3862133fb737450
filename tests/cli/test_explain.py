"""`outcomes explain` in words: every reason, every state, numbers with their units."""

import re
from decimal import Decimal
from typing import Any

import pytest

from cli.explain import SENTENCES, STATES, explain
from cli.ledger import event_of, milliseconds, outcome_of
from schemas.reasons import LeaderAction, OutcomeState, RefusalReason, Side
from schemas.status import CopyCost, FanOut, Outcome

NOW = 1_723_075_200_123
BTC = "binanceusdm:BTC/USDT:USDT"


def outcome(**changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "now_ms": NOW, "outcome_id": "o", "event_id": "e", "leader": "desk", "sequence": 7, "account": "alice",
        "subscription": "alice/desk", "instrument": BTC, "state": OutcomeState.SKIPPED,
    }  # fmt: skip
    return Outcome(**fields | changes)


def event(**changes: Any) -> FanOut:
    fields: dict[str, Any] = {
        "now_ms": NOW, "event_id": "e", "leader": "desk", "sequence": 7, "action": LeaderAction.INCREASE, "cause": "c",
        "event_ms": NOW, "partition": 0, "active": 3, "instrument": BTC, "side": Side.BUY, "price": Decimal("60000.10"),
        "size": Decimal("0.5"), "position": Decimal(2),
    }  # fmt: skip
    return FanOut(**fields | changes)


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_every_reason_has_a_sentence_of_its_own(reason: RefusalReason) -> None:
    lines = explain(outcome(reason=reason))
    assert lines[0] == "Not copied."
    assert lines[1] == SENTENCES[reason][0]
    assert re.fullmatch(r"[A-Zm].{30,}[.)]", lines[1])
    assert sum(sentences[0] == lines[1] for sentences in SENTENCES.values()) == 1
    assert len(lines) == 2


@pytest.mark.parametrize("state", list(OutcomeState))
def test_every_state_has_a_sentence(state: OutcomeState) -> None:
    assert explain(outcome(state=state))[0] == STATES[state]


DETAILED = [(reason, sentence) for reason, sentences in SENTENCES.items() for sentence in sentences[1:]]


@pytest.mark.parametrize(("reason", "sentence"), DETAILED)
def test_numbers_are_said_once_in_the_sentence(reason: RefusalReason, sentence: str) -> None:
    names = re.findall(r"{(\w+)}", sentence)
    numbers = {name: str(1_000 + index) for index, name in enumerate(names)}
    lines = explain(outcome(reason=reason, numbers=numbers))
    assert "{" not in lines[1]
    assert lines[1] != SENTENCES[reason][0]
    assert not any(line.startswith("Numbers:") for line in lines), "said already"


@pytest.mark.parametrize(
    ("reason", "numbers", "said"),
    [
        (RefusalReason.STALE_SIGNAL, {"age_ms": "12345", "max_signal_age_ms": "10000"},
         "The leader's event was 12,345 ms old; at most 10,000 ms are allowed for entries."),
        (RefusalReason.STALE_SIGNAL, {"age_ms": "12345", "max_exit_age_ms": "10000"},
         "The leader's event was 12,345 ms old; at most 10,000 ms are allowed for exits."),
        (RefusalReason.PRICE_DRIFT, {"drift_bps": "61.5", "max_price_drift_bps": "50", "price": "60001.50"},
         "The price was 60001.5 USDT, 61.5 bps from the leader's; at most 50 bps are allowed."),
        (RefusalReason.DAILY_LOSS, {"loss": "0.051", "day_equity": "10000", "max_daily_loss": "0.05"},
         "The account has lost 5.1 % of its equity today (10000 USDT at 00:00 UTC); its limit is 5 %."),
        (RefusalReason.EXPIRED, {"not_after_ms": "1723075200123", "now_ms": "1723075201123"},
         "The order was good until 2024-08-08 00:00:00.123 UTC; it was 2024-08-08 00:00:01.123 UTC when it could have "
         "gone on."),
        (RefusalReason.NOT_LISTED, {"instrument": BTC, "list": "whitelist"},
         f"The whitelist of the subscription does not allow {BTC}."),
    ],
)  # fmt: skip
def test_numbers_carry_their_units(reason: RefusalReason, numbers: dict[str, str], said: str) -> None:
    assert explain(outcome(reason=reason, numbers=numbers))[1] == said


def test_numbers_that_no_sentence_says_are_listed() -> None:
    numbers = {"spread_bps": "3", "wait_ms": "1500", "lots": "2", "max_order_notional": "x", "held": "5.10"}
    lines = explain(outcome(reason=RefusalReason.BREAKER_OPEN, numbers=numbers))
    assert lines[-1] == "Numbers: held 5.1 USDT; lots 2; max_order_notional x; spread_bps 3 bps; wait 1,500 ms."


def test_a_copy_that_was_cut_says_from_what_to_what_and_why() -> None:
    numbers = {"wanted": "0.5", "size": "0.1", "limit": "max_order_notional", "limit_value": "6000"}
    lines = explain(outcome(state=OutcomeState.REDUCED, numbers=numbers), event())
    assert lines == [
        f"desk: increase, buy {BTC}, size 0.5 at 60000.1 USDT, position then 2 "
        "(event 7, 2024-08-08 00:00:00.123 UTC) for alice/desk.",
        "Copied, but smaller: 0.1 of 0.5 wished, because of max_order_notional (6000 USDT).",
    ]


def test_a_copy_tells_times_prices_and_costs_by_stage() -> None:
    cost = CopyCost(
        leader_price=Decimal(60_000), event_ms=NOW, detected_ms=NOW + 5, decided_ms=NOW + 12,
        decided_price=Decimal("60003.0"), submitted_ms=NOW + 20, filled_ms=NOW + 1_045, fill_price=Decimal(60_006),
        size=Decimal("0.1"), drift_bps=Decimal("0.5"), slippage_bps=Decimal("0.5"), total_bps=Decimal("0.999"),
    )  # fmt: skip
    lines = explain(outcome(state=OutcomeState.COPIED, cost=cost))
    assert lines[0] == "Copied in full."
    assert lines[1] == (
        "Time since the leader's trade: detected after 5 ms, decided after 12 ms, submitted after 20 ms, "
        "filled after 1,045 ms."
    )
    assert lines[2] == "Price: leader 60000 USDT, ours when decided 60003, filled at 60006 (size 0.1)."
    assert lines[3].endswith("drift until the decision 0.50 bps, slippage from there 0.50 bps, together 1.00 bps.")


def test_a_failure_tells_the_venues_words_and_how_to_go_on() -> None:
    lines = explain(outcome(state=OutcomeState.FAILED, message="margin is insufficient", error_id="err9"))
    assert "The venue said: margin is insufficient" in lines
    assert any("wakeline halts resolve err9" in line for line in lines)
    assert "The venue gave no reason." in explain(outcome(state=OutcomeState.FAILED))


def test_rows_become_the_messages_they_came_from() -> None:
    row: dict[str, Any] = {
        "log_time": "2024-08-08 00:00:00.123", "outcome_id": "o", "event_id": "e", "leader": "desk", "sequence": "7",
        "account": "alice", "subscription": "alice/desk", "instrument": BTC, "state": "skipped",
        "reason": "stale_signal", "order_id": "", "message": "", "numbers": {"age_ms": "5"},
    }  # fmt: skip
    expected = outcome(reason=RefusalReason.STALE_SIGNAL, numbers={"age_ms": "5"})
    assert outcome_of(row) == expected
    assert outcome_of(row | {"cost_leader_price": None, "error_id": ""}) == expected
    costs = {
        "cost_leader_price": "1.500000", "cost_decided_price": "2", "cost_event_at": "2024-08-08 00:00:00.123",
        "cost_detected_at": "2024-08-08 00:00:00.124", "cost_decided_at": "2024-08-08 00:00:00.125",
        "cost_submitted_at": None, "cost_filled_at": "2024-08-08 00:00:01.000", "cost_total_bps": "-3.5",
    }  # fmt: skip
    cost = outcome_of(row | costs).cost
    assert cost == CopyCost(
        leader_price=Decimal("1.5"), decided_price=Decimal(2), event_ms=NOW, detected_ms=NOW + 1, decided_ms=NOW + 2,
        filled_ms=milliseconds("2024-08-08 00:00:01.000"), total_bps=Decimal("-3.5"),
    )  # fmt: skip
    fan_out = {
        "log_time": "2024-08-08 00:00:00.123", "event_id": "e", "leader": "desk", "sequence": 7, "action": "increase",
        "cause": "c", "event_at": "2024-08-08 00:00:00.123", "partition": 0, "active": 3, "instrument": BTC,
        "side": "buy", "price": "60000.100000", "size": "0.5", "position": "2",
    }  # fmt: skip
    assert event_of(fan_out) == event()
    assert event_of(fan_out | {"side": "", "price": None, "size": None, "position": None}).side is None
