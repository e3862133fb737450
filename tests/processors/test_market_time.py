"""What may move time, as a table of stories."""

import pytest

from processors.market_time import AHEAD_MS, CONFIRMATIONS, admits

NOW = 1_700_000_000_000
FAR = NOW + 3 * AHEAD_MS


def play(*records: tuple[int, bool], time_ms: int = NOW) -> tuple[list[bool], int]:
    """Apply (time, is a clock) one after the other; return what was admitted, and the time then."""
    claim: list[int] = []
    found = []
    for place, (record_ms, is_clock) in enumerate(records):
        found.append(admits(claim, record_ms, time_ms, place, is_clock=is_clock))
        if found[-1]:
            time_ms = max(time_ms, record_ms)
    return found, time_ms


@pytest.mark.parametrize(
    ("records", "admitted", "time_ms"),
    [
        pytest.param([(NOW + AHEAD_MS, False)], [True], NOW + AHEAD_MS, id="a day is allowed"),
        pytest.param([(NOW + AHEAD_MS + 1, False)], [False], NOW, id="more is not"),
        pytest.param([(NOW - FAR, False)], [True], NOW, id="the past is welcome"),
        pytest.param([(FAR, True), (FAR + 5, False)], [False, True], FAR + 5, id="a clock, then a record that agrees"),
        pytest.param([(FAR, True), (FAR + 5, True)], [False, True], FAR + 5, id="two clocks"),
        pytest.param([(FAR, True), (NOW + 5, False)], [False, True], NOW + 5, id="a clock alone"),
        pytest.param([(FAR, True), (NOW, False), (FAR, False)], [False, True, False], NOW, id="not the very next"),
        pytest.param([(FAR, True), (FAR + 2 * AHEAD_MS, False)], [False, False], NOW, id="a clock nobody agrees with"),
        pytest.param([(FAR, False)] * CONFIRMATIONS, [False] * CONFIRMATIONS, NOW, id="not yet enough"),
        pytest.param(
            [(FAR, False)] * (CONFIRMATIONS + 1), [False] * CONFIRMATIONS + [True], FAR, id="enough that agree"
        ),
        pytest.param(
            [(FAR + n * 2 * AHEAD_MS, False) for n in range(60)], [False] * 60, NOW, id="many, each with another time"
        ),
    ],
)
def test_time_moves_far_only_if_the_log_agrees_with_itself(
    records: list[tuple[int, bool]], admitted: list[bool], time_ms: int
) -> None:
    assert play(*records) == (admitted, time_ms)


def test_the_first_record_has_nothing_against_it() -> None:
    assert play((FAR, False), time_ms=0) == ([True], FAR)
