"""Sizing modes: a table of cases for each, and exactness against fractions."""

import dataclasses
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from processors.account.money import money_context
from processors.copying.modes import SizeRequest
from processors.copying.params import SizeMode
from processors.copying.sizing import MODES, missing, mode_of, needs_of
from schemas.reasons import RefusalReason

D = Decimal
SETTINGS: TypeAdapter[Any] = TypeAdapter(SizeMode)
TIERS = {
    "kind": "tiers",
    "tiers": [
        {"up_to": "10000", "multiplier": "0.5"},
        {"up_to": "50000", "multiplier": "0.1"},
        {"multiplier": "0.01"},
    ],
}


def request(**fields: Any) -> SizeRequest:
    """A leader with 100,000 that bought 1.0 BTC at 60,000 and now holds 2.0; a follower with 10,000."""
    values: dict[str, Any] = {
        "leader_size": D("1.0"),
        "leader_position": D("2.0"),
        "leader_price": D(60000),
        "leader_equity": D(100000),
        "price": D(60000),
        "contract_size": D(1),
        "equity": D(10000),
        "risk_per_trade": D("0.02"),
        "loss_per_unit": D(600),
        "ratio": D(1),
    }
    return SizeRequest(**{**values, **fields})


def wish(settings: dict[str, Any], **fields: Any) -> Decimal:
    parsed = SETTINGS.validate_python(settings)
    with money_context():
        return mode_of(parsed).wish(parsed, request(**fields))


THIRD = D("0.3333333333333333333333333333333333")
CASES: list[tuple[dict[str, Any], dict[str, Any], Decimal]] = [
    ({"kind": "risk_percent"}, {}, THIRD),  # 200 at risk, 600 lost per BTC
    ({"kind": "risk_percent"}, {"ratio": D("0.5"), "loss_per_unit": D(100)}, D(1)),
    ({"kind": "risk_percent"}, {"contract_size": D("0.001"), "loss_per_unit": D("0.1")}, D(2000)),
    ({"kind": "risk_percent"}, {"loss_per_unit": D(0)}, D(0)),
    ({"kind": "risk_percent"}, {"equity": D(0)}, D(0)),
    ({"kind": "risk_percent"}, {"equity": D(-5)}, D(0)),
    ({"kind": "ratio"}, {"ratio": D("0.1")}, D("0.1")),
    ({"kind": "ratio"}, {"ratio": D("0.1"), "contract_size": D("0.001")}, D(100)),
    ({"kind": "ratio"}, {"ratio": D(3), "leader_size": D("0.00000001")}, D("0.00000003")),
    ({"kind": "fixed_quantity", "quantity": "0.02"}, {}, D("0.02")),
    ({"kind": "fixed_quantity", "quantity": "0.02"}, {"leader_size": None, "ratio": D(2)}, D("0.04")),
    ({"kind": "fixed_quantity", "quantity": "0.02"}, {"contract_size": D("0.01")}, D(2)),
    ({"kind": "fixed_notional", "notional": "600"}, {}, D("0.01")),
    ({"kind": "fixed_notional", "notional": "600"}, {"leader_size": None, "ratio": D("0.5")}, D("0.005")),
    ({"kind": "fixed_notional", "notional": "600"}, {"price": D(30000), "contract_size": D("0.01")}, D(2)),
    ({"kind": "equity_proportional"}, {}, D("0.1")),
    ({"kind": "equity_proportional"}, {"ratio": D(2), "contract_size": D("0.01")}, D(20)),
    ({"kind": "equity_proportional"}, {"equity": D(0)}, D(0)),
    ({"kind": "equity_proportional"}, {"equity": D(-1)}, D(0)),
    ({"kind": "equity_proportional"}, {"leader_equity": D(0)}, D(0)),
    ({"kind": "equity_proportional"}, {"leader_equity": D(-1)}, D(0)),
    ({"kind": "balance_percent", "fraction": "0.06"}, {}, D("0.01")),
    ({"kind": "balance_percent", "fraction": "0.06"}, {"ratio": D(2), "contract_size": D("0.01")}, D(2)),
    ({"kind": "balance_percent", "fraction": "0.06"}, {"leader_size": None, "price": D(30000)}, D("0.02")),
    ({"kind": "balance_percent", "fraction": "0.06"}, {"equity": D(-1)}, D(0)),
    (TIERS, {"leader_size": D("0.1")}, D("0.05")),  # 6,000
    (TIERS, {"leader_size": D("0.1"), "leader_price": D(100000)}, D("0.05")),  # exactly 10,000: the bound belongs to it
    (TIERS, {"leader_size": D("0.1"), "leader_price": D("100000.1")}, D("0.01")),
    (TIERS, {"leader_size": D("0.5"), "leader_price": D(100000)}, D("0.05")),
    (TIERS, {"leader_size": D("0.50001"), "leader_price": D(100000)}, D("0.0050001")),
    (TIERS, {"leader_size": D("0.1"), "price": D(10**6)}, D("0.05")),  # the leader's price counts, not ours
    (TIERS, {"leader_size": D("0.1"), "ratio": D(2), "contract_size": D("0.01")}, D(10)),
    ({"kind": "mirror"}, {"ratio": D("0.2")}, D("0.4")),
    ({"kind": "mirror"}, {"leader_position": D("-2.0"), "ratio": D("0.2")}, D("-0.4")),
    ({"kind": "mirror"}, {"leader_position": D(0)}, D(0)),
    ({"kind": "mirror"}, {"leader_size": None, "contract_size": D("0.01")}, D(200)),
    ({"kind": "signal_only"}, {"leader_size": None}, D(0)),
    ({"kind": "inverse"}, {"ratio": D("0.1")}, D("0.1")),  # the side is turned by whoever asks
    ({"kind": "inverse", "follows": "position"}, {"ratio": D("0.1")}, D("-0.2")),
    ({"kind": "inverse", "follows": "position"}, {"leader_position": D(-2), "contract_size": D("0.5")}, D(4)),
    ({"kind": "inverse", "follows": "position"}, {"leader_position": D(0)}, D(0)),
]


@pytest.mark.parametrize(("settings", "fields", "expected"), CASES)
def test_wish(settings: dict[str, Any], fields: dict[str, Any], expected: Decimal) -> None:
    told = wish(settings, **fields)
    assert told == expected
    assert not (told == 0 and told.is_signed())  # no minus zero


def test_every_mode_has_cases() -> None:
    assert {settings["kind"] for settings, _, _ in CASES} == set(MODES)


# settings -> (follows, opposite, share, needs)
NATURE: list[tuple[dict[str, Any], tuple[str, bool, bool, set[str]]]] = [
    ({"kind": "risk_percent"}, ("change", False, True, set())),
    ({"kind": "ratio"}, ("change", False, False, {"size"})),
    ({"kind": "fixed_quantity", "quantity": "1"}, ("change", False, True, set())),
    ({"kind": "fixed_notional", "notional": "1"}, ("change", False, True, set())),
    ({"kind": "equity_proportional"}, ("change", False, False, {"size", "equity"})),
    ({"kind": "balance_percent", "fraction": "1"}, ("change", False, True, set())),
    (TIERS, ("change", False, True, {"size"})),
    ({"kind": "mirror"}, ("position", False, False, {"position"})),
    ({"kind": "signal_only"}, ("nothing", False, False, set())),
    ({"kind": "inverse"}, ("change", True, False, {"size"})),
    ({"kind": "inverse", "follows": "position"}, ("position", True, False, {"position"})),
]


@pytest.mark.parametrize(("settings", "expected"), NATURE)
def test_what_it_follows_and_needs(settings: dict[str, Any], expected: tuple[str, bool, bool, set[str]]) -> None:
    parsed = SETTINGS.validate_python(settings)
    mode = mode_of(parsed)
    assert (mode.follows(parsed), mode.opposite, mode.share, set(needs_of(parsed))) == expected


def test_the_nature_of_every_mode_is_told() -> None:
    assert {settings["kind"] for settings, _ in NATURE} == set(MODES)


MISSING = {
    "size": RefusalReason.NO_LEADER_SIZE,
    "position": RefusalReason.NO_LEADER_POSITION,
    "equity": RefusalReason.NO_LEADER_EQUITY,
}


@pytest.mark.parametrize(("settings", "expected"), NATURE)
@pytest.mark.parametrize("absent", MISSING)
def test_what_is_missing_is_named(
    settings: dict[str, Any], expected: tuple[str, bool, bool, set[str]], absent: str
) -> None:
    parsed = SETTINGS.validate_python(settings)
    asked = dataclasses.replace(request(), **{f"leader_{absent}": None})
    assert missing(parsed, request()) is None
    if absent in expected[3]:
        assert missing(parsed, asked) is MISSING[absent]
    else:  # and the wish does without it
        assert missing(parsed, asked) is None
        with money_context():
            mode_of(parsed).wish(parsed, asked)


@pytest.mark.parametrize("equity", [D(0), D(-1)])
def test_a_leader_in_debt_has_no_equity_to_compare_with(equity: Decimal) -> None:
    parsed = SETTINGS.validate_python({"kind": "equity_proportional"})
    assert missing(parsed, request(leader_equity=equity)) is RefusalReason.NO_LEADER_EQUITY


# ---- against fractions ----------------------------------------------------------------------------------------------
def amounts(places: int, largest: int) -> st.SearchStrategy[Decimal]:
    return st.integers(1, largest * 10**places).map(lambda count: D(count).scaleb(-places))


requests = st.builds(
    SizeRequest,
    leader_size=amounts(6, 10_000),
    leader_position=st.builds(lambda size, sign: size * sign, amounts(6, 10_000), st.sampled_from([D(-1), D(0), D(1)])),
    leader_price=amounts(2, 100_000),
    leader_equity=amounts(2, 10_000_000),
    price=amounts(2, 100_000),
    contract_size=st.sampled_from([D(1), D("0.001"), D(10), D("0.3")]),
    equity=amounts(2, 10_000_000),
    risk_per_trade=st.integers(1, 999).map(lambda count: D(count) / 1000),
    loss_per_unit=amounts(2, 10_000),
    ratio=amounts(4, 1_000),
)
kinds = st.one_of(
    st.sampled_from(
        [
            {"kind": kind}
            for kind in ("risk_percent", "ratio", "equity_proportional", "mirror", "signal_only", "inverse")
        ]
    ),
    st.just({"kind": "inverse", "follows": "position"}),
    amounts(6, 100).map(lambda quantity: {"kind": "fixed_quantity", "quantity": quantity}),
    amounts(2, 10_000).map(lambda notional: {"kind": "fixed_notional", "notional": notional}),
    amounts(4, 10).map(lambda fraction: {"kind": "balance_percent", "fraction": fraction}),
    st.tuples(amounts(2, 10_000), amounts(2, 1_000_000), amounts(3, 100), amounts(3, 100), amounts(3, 100)).map(
        lambda drawn: {
            "kind": "tiers",
            "tiers": [
                {"up_to": drawn[0], "multiplier": drawn[2]},
                {"up_to": drawn[0] + drawn[1], "multiplier": drawn[3]},
                {"multiplier": drawn[4]},
            ],
        }
    ),
)


def oracle(settings: dict[str, Any], asked: SizeRequest) -> Fraction:
    """The wish in fractions, in base units first and in contracts last, as the settings are described."""
    f = {field.name: Fraction(getattr(asked, field.name)) for field in dataclasses.fields(asked)}
    base: Fraction
    match settings["kind"]:
        case "risk_percent":
            return f["equity"] * f["risk_per_trade"] / f["loss_per_unit"] * f["ratio"]
        case "ratio":
            base = f["leader_size"]
        case "fixed_quantity":
            base = Fraction(settings["quantity"])
        case "fixed_notional":
            base = Fraction(settings["notional"]) / f["price"]
        case "equity_proportional":
            base = f["equity"] / f["leader_equity"] * f["leader_size"]
        case "balance_percent":
            base = Fraction(settings["fraction"]) * f["equity"] / f["price"]
        case "tiers":
            first, second, last = settings["tiers"]
            notional = f["leader_size"] * f["leader_price"]
            tier = first if notional <= first["up_to"] else second if notional <= second["up_to"] else last
            base = f["leader_size"] * Fraction(tier["multiplier"])
        case "mirror":
            base = f["leader_position"]
        case "inverse":
            base = -f["leader_position"] if settings.get("follows") == "position" else f["leader_size"]
        case _:
            base = Fraction(0)
    return base * f["ratio"] / f["contract_size"]


@given(kinds, requests)
def test_is_the_exact_quotient_to_34_digits(settings: dict[str, Any], asked: SizeRequest) -> None:
    parsed = SETTINGS.validate_python(settings)
    with money_context():
        told = mode_of(parsed).wish(parsed, asked)
        exact = oracle(settings, asked)
        assert told == D(exact.numerator) / D(exact.denominator)


@given(kinds, requests)
def test_signs(settings: dict[str, Any], asked: SizeRequest) -> None:
    parsed = SETTINGS.validate_python(settings)
    mode = mode_of(parsed)
    with money_context():
        told = mode.wish(parsed, asked)
    if mode.follows(parsed) == "change":
        assert told > 0
    elif mode.follows(parsed) == "position":
        assert asked.leader_position is not None
        leader = asked.leader_position.compare(D(0))
        assert told.compare(D(0)) == (-leader if mode.opposite else leader)
    else:
        assert told == 0


@given(kinds, requests, st.sampled_from([D(2), D(10), D("0.5")]))
def test_the_ratio_multiplies_every_mode(settings: dict[str, Any], asked: SizeRequest, factor: Decimal) -> None:
    parsed = SETTINGS.validate_python(settings)
    with money_context():
        once = mode_of(parsed).wish(parsed, asked)
        again = mode_of(parsed).wish(parsed, dataclasses.replace(asked, ratio=asked.ratio * factor))
        assert abs(again - once * factor) <= abs(again) * D("1e-33")
