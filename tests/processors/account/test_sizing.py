"""Sizes and protection: tables, and hypothesis against fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from processors.account.money import money_context
from processors.account.params import AccountParams
from processors.account.protection import Levels, levels
from processors.account.sizing import Sized, margin_rate, size_entry
from processors.copying.caps import CapRequest
from processors.copying.modes import SizeRequest
from processors.copying.params import AtrDistance, PercentDistance, SubscriptionParams
from processors.copying.sizing import mode_of
from schemas.market import Mark
from schemas.reasons import RefusalReason, Side
from tests.processors.account.world import BTC, instrument, leader_event

D = Decimal


def sized(
    equity: str = "10000",
    held: str = "0",
    price: str = "60000",
    stop: str = "58200",
    ratio: str = "1",
    margin: str = "0",
    leverage: int = 10,
    **params: object,
) -> Sized | tuple[RefusalReason, dict[str, str]]:
    """Size by risk, with the caps: as the gate does it."""
    settings, rules = SubscriptionParams.model_validate({**params, "ratio": ratio}), instrument()
    with money_context():
        request = SizeRequest(
            leader_size=None,
            leader_position=None,
            leader_price=D(price),
            leader_equity=None,
            price=D(price),
            contract_size=rules.contract_size,
            equity=D(equity),
            risk_per_trade=settings.risk_per_trade,
            loss_per_unit=abs(D(price) - D(stop)),
            ratio=settings.ratio,
        )
        caps = CapRequest(
            params=settings,
            held=D(held),
            leader_held=D(held),
            instrument_held=D(held),
            account_held=D(held),
            day_notional=D(0),
            margin_free=max(D(equity) - D(margin), D(0)),
            margin_rate=margin_rate(leverage, AccountParams().taker_fee_rate),
        )
        return size_entry(mode_of(settings.size).wish(settings.size, request), D(0), D(price), rules, caps)


@pytest.mark.parametrize(
    ("given_values", "size", "limit"),
    [
        # 2 % of 10,000 over a stop 1,800 away: 0.1111 -> 0.111
        ({"max_position_notional": None}, "0.111", ""),
        ({"max_position_notional": None, "ratio": "0.5"}, "0.055", ""),
        ({}, "0.016", "max_position_notional"),  # 1,000 / 60,000
        ({"held": "500", "allow_second_entry": True}, "0.008", "max_position_notional"),
        # 100 of margin at 10x, fees of both ways kept back: 100 / (0.1 + 0.001) = 990.09
        ({"max_position_notional": None, "margin": "9900"}, "0.016", "margin"),
        ({"max_position_notional": None, "margin": "9900", "leverage": 1}, "0.001", "margin"),
    ],
)
def test_size(given_values: dict[str, object], size: str, limit: str) -> None:
    result = sized(**given_values)  # type: ignore[arg-type]
    assert isinstance(result, Sized)
    assert result.size == D(size)
    assert result.notional == D(size) * 60000
    assert result.numbers.get("limit", "") == limit
    if limit:
        assert D(result.numbers["wanted"]) > result.size == D(result.numbers["size"])


@pytest.mark.parametrize(
    ("given_values", "reason"),
    [
        ({"equity": "80"}, RefusalReason.BELOW_MINIMUM),  # 1.6 / 1800 < 0.001
        ({"max_position_notional": "50"}, RefusalReason.MAX_POSITION),
        ({"held": "1000"}, RefusalReason.MAX_POSITION),
        ({"margin": "10000"}, RefusalReason.INSUFFICIENT_MARGIN),
        ({"margin": "20000"}, RefusalReason.INSUFFICIENT_MARGIN),
    ],
)
def test_refused(given_values: dict[str, object], reason: RefusalReason) -> None:
    result = sized(**given_values)  # type: ignore[arg-type]
    assert not isinstance(result, Sized)
    assert result[0] is reason
    assert all(isinstance(number, str) for number in result[1].values())


@given(
    equity=st.integers(1, 10**7),
    price=st.integers(10, 10**6),
    fraction=st.integers(1, 300),
    risk=st.integers(1, 50),
    ratio=st.integers(1, 40),
    cap=st.one_of(st.none(), st.integers(10, 10**5)),
    held=st.integers(0, 10**4),
    margin=st.integers(0, 10**6),
    leverage=st.integers(1, 125),
)
def test_size_never_exceeds_risk_cap_or_margin(
    equity: int,
    price: int,
    fraction: int,
    risk: int,
    ratio: int,
    cap: int | None,
    held: int,
    margin: int,
    leverage: int,
) -> None:
    stop = Fraction(price) * (1000 - fraction) / 1000
    stop_text = str(D(stop.numerator) / D(stop.denominator))
    assume(Fraction(stop_text) == stop)
    params = {"risk_per_trade": D(risk) / 1000, "max_position_notional": cap}
    result = sized(str(equity), str(held), str(price), stop_text, str(D(ratio) / 10), str(margin), leverage, **params)
    lot = Fraction("0.001")
    exact = Fraction(equity) * risk / 1000 * ratio / 10 / (price - stop)
    bounds = [
        exact,
        max(Fraction(equity - margin), Fraction(0)) / (price * (Fraction(1, leverage) + Fraction("0.001"))),
    ]
    if cap is not None:
        bounds.append(max(Fraction(cap - held), Fraction(0)) / price)
    oracle = min(bound // lot * lot for bound in bounds)
    if oracle < lot or oracle * price < 5:
        assert not isinstance(result, Sized)
    else:
        assert isinstance(result, Sized)
        assert Fraction(result.size) == oracle
        assert bool(result.numbers) == (oracle < exact // lot * lot)


def level(
    side: Side,
    price: str,
    tick: str = "0.1",
    bid: str | None = None,
    ask: str | None = None,
    atr: float | None = None,
    **params: object,
) -> Levels | tuple[RefusalReason, dict[str, str]]:
    mark = Mark(now_ms=0, instrument=BTC, bid=D(bid or price), ask=D(ask or price))
    with money_context():
        event = leader_event(1, side, price, atr=atr)
        return levels(side, D(price), event, SubscriptionParams.model_validate(params), instrument(tick=D(tick)), mark)


@pytest.mark.parametrize(
    ("side", "price", "tick", "stop", "take"),
    [
        (Side.BUY, "60000", "0.1", "58200", "63600"),
        (Side.SELL, "60000", "0.1", "61800", "56400"),
        (Side.BUY, "60000.1", "0.1", "58200.1", "63600.1"),  # 58200.097 up, 63600.106 down: towards the entry
        (Side.SELL, "60000.1", "0.1", "61800.1", "56400.1"),  # 61800.103 down, 56400.094 up
        (Side.BUY, "100", "10", "90", "110"),  # never nearer than one tick
        (Side.SELL, "100", "10", "110", "90"),
    ],
)
def test_levels(side: Side, price: str, tick: str, stop: str, take: str) -> None:
    assert level(side, price, tick) == Levels(D(stop), D(take))


def test_levels_by_atr() -> None:
    atr = {"kind": "atr", "multiple": "2"}
    assert level(Side.BUY, "100", atr=1.25, stop_loss=atr, take_profit=atr) == Levels(D("97.5"), D("102.5"))
    for missing in (None, 0.0):
        result = level(Side.BUY, "100", atr=missing, stop_loss=atr)
        assert result[0] is RefusalReason.NOT_TRADABLE
    result = level(Side.SELL, "100", atr=60.0, take_profit=atr)
    assert result[0] is RefusalReason.NOT_TRADABLE  # the target would be no price


def test_a_stop_that_is_reached_already_is_refused() -> None:
    result = level(Side.BUY, "100", bid="96", ask="100")
    assert result[0] is RefusalReason.NOT_TRADABLE
    assert result[1]["stop_loss"] == "97.0"
    assert level(Side.SELL, "100", bid="100", ask="104")[0] is RefusalReason.NOT_TRADABLE
    assert isinstance(level(Side.BUY, "100", bid="97.1", ask="100"), Levels)


@given(
    side=st.sampled_from(list(Side)),
    ticks=st.integers(50, 10**6),
    stop=st.integers(1, 400),
    take=st.integers(1, 400),
    tick=st.sampled_from(["0.1", "0.25", "1", "0.0001"]),
)
def test_levels_are_on_the_tick_and_never_wider_than_asked(
    side: Side, ticks: int, stop: int, take: int, tick: str
) -> None:
    price = ticks * D(tick)
    found = level(
        side,
        str(price),
        tick,
        stop_loss=PercentDistance(fraction=D(stop) / 1000),
        take_profit=PercentDistance(fraction=D(take) / 1000),
    )
    assert isinstance(found, Levels)
    sign = 1 if side is Side.BUY else -1
    for value, asked, way in ((found.stop_loss, stop, -sign), (found.take_profit, take, sign)):
        assert value % D(tick) == 0
        away = (value - price) * way
        assert away >= D(tick)
        assert away <= max(price * asked / 1000, D(tick))
        assert away > price * asked / 1000 - D(tick)


def test_atr_distance_is_the_other_kind() -> None:
    assert SubscriptionParams.model_validate({"stop_loss": {"kind": "atr"}}).stop_loss == AtrDistance(multiple=D(2))
