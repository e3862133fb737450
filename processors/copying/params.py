"""Settings of a subscription: how one account follows one leader, with the product's defaults.

Entry points: `SubscriptionParams`, `parse_subscription_params`, `ParamsError`.

1. Frozen; unknown keys are refused; money and fractions are Decimal (0.02 means 2 %), basis points are Decimal too.
2. `None` switches a limit off. Nothing else does: zero is a number, not "off".
3. A position is never opened without a stop-loss and a take-profit, so neither has an off.
4. Settings are inherited field by field (settings.py); every field here is one unit of inheritance.
5. Contradictions are found here, those of an instrument's override too: what was accepted never fails later.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

_INSTRUMENT = re.compile(r"[a-z][a-z0-9_-]*:\S+")


def _instrument(text: str) -> str:
    if _INSTRUMENT.fullmatch(text) is None:
        raise ValueError("an instrument must look like venue:SYMBOL, for example binanceusdm:BTC/USDT:USDT")
    return text


def _not_a_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _word(true: str, false: str) -> BeforeValidator:
    """YAML reads a bare yes, no, on and off as true and false: take them as the words they were written as."""
    return BeforeValidator(lambda value: (true if value else false) if isinstance(value, bool) else value)


Integer = Annotated[int, BeforeValidator(_not_a_flag)]
Number = Annotated[Decimal, Field(allow_inf_nan=False, max_digits=28, decimal_places=18)]
Money = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]
Ratio = Annotated[Number, Field(gt=0, le=1_000)]
Bps = Annotated[Number, Field(ge=0, le=10_000)]
Instrument = Annotated[str, AfterValidator(_instrument)]
Milliseconds = Annotated[Integer, Field(gt=0, le=31_536_000_000)]
Count = Annotated[Integer, Field(ge=1, le=1_000_000)]
Hour = Annotated[Integer, Field(ge=0, le=24)]
ErrorKind = Literal["rejected", "insufficient_margin", "protection_lost", "not_closed", "expired"]


class Params(BaseModel):
    """Base of settings: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PercentDistance(Params):
    """A distance from the entry price as a fraction of it (0.03 = 3 %)."""

    kind: Literal["percent"] = "percent"
    fraction: Fraction


class AtrDistance(Params):
    """A distance from the entry price as a multiple of the average true range that the leader's event carries."""

    kind: Literal["atr"] = "atr"
    multiple: Annotated[Number, Field(gt=0, le=100)] = Decimal(2)


class LeaderDistance(Params):
    """The leader's own stop-loss or take-profit price; `fallback` while the leader has none, or one already reached."""

    kind: Literal["leader"] = "leader"
    fallback: Annotated[PercentDistance | AtrDistance, Field(discriminator="kind")]


Distance = Annotated[PercentDistance | AtrDistance | LeaderDistance, Field(discriminator="kind")]


class MarketEntry(Params):
    """Enter at the market."""

    kind: Literal["market"] = "market"


class LimitEntry(Params):
    """Enter with a limit order `offset_bps` basis points worse than the touch (below zero: better, so it rests).

    What has not filled after `order_ttl_ms` is cancelled.
    """

    kind: Literal["limit"] = "limit"
    offset_bps: Annotated[Number, Field(gt=-5_000, lt=5_000)] = Decimal(0)


Entry = Annotated[MarketEntry | LimitEntry, Field(discriminator="kind")]


class RiskPercentSize(Params):
    """Size so that the stop-loss costs `risk_per_trade` of equity, times the ratio."""

    kind: Literal["risk_percent"] = "risk_percent"


class RatioSize(Params):
    """The leader's size times the ratio."""

    kind: Literal["ratio"] = "ratio"


class FixedQuantitySize(Params):
    """Always this many base units, times the ratio."""

    kind: Literal["fixed_quantity"] = "fixed_quantity"
    quantity: Money


class FixedNotionalSize(Params):
    """Always this notional in the account's currency, times the ratio."""

    kind: Literal["fixed_notional"] = "fixed_notional"
    notional: Money


class EquityProportionalSize(Params):
    """The leader's size times own equity over the leader's equity, times the ratio."""

    kind: Literal["equity_proportional"] = "equity_proportional"


class BalancePercentSize(Params):
    """This fraction of own equity (or of `capital`) as notional, times the ratio."""

    kind: Literal["balance_percent"] = "balance_percent"
    fraction: Annotated[Number, Field(gt=0, le=10)]


class Tier(Params):
    """Leader's trades up to this notional (None: any larger one) are multiplied by `multiplier`."""

    up_to: Money | None = None
    multiplier: Ratio


class TiersSize(Params):
    """The leader's size times the multiplier of the first tier it fits, times the ratio. Tiers rise, the last is
    open."""

    kind: Literal["tiers"] = "tiers"
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        bounds = [tier.up_to for tier in self.tiers]
        closed = [bound for bound in bounds[:-1] if bound is not None]
        if len(closed) != len(bounds) - 1 or bounds[-1] is not None:
            raise ValueError("tiers: every tier but the last needs up_to, and the last must have none")
        if closed != sorted(set(closed)):
            raise ValueError("tiers: up_to must rise from tier to tier")
        return self


class MirrorSize(Params):
    """Hold the leader's position times the ratio: follows the position, not the change."""

    kind: Literal["mirror"] = "mirror"


class SignalOnlySize(Params):
    """Trade nothing; every event ends as skipped, with what would be known."""

    kind: Literal["signal_only"] = "signal_only"


class InverseSize(Params):
    """Trade against the leader: the leader's size (or position) times the ratio, on the other side."""

    kind: Literal["inverse"] = "inverse"
    follows: Literal["change", "position"] = "change"


SizeMode = Annotated[
    RiskPercentSize
    | RatioSize
    | FixedQuantitySize
    | FixedNotionalSize
    | EquityProportionalSize
    | BalancePercentSize
    | TiersSize
    | MirrorSize
    | SignalOnlySize
    | InverseSize,
    Field(discriminator="kind"),
]


class Slippage(Params):
    """How much worse than the leader's price the touch may be; a limit of None is off, both apply if both are set."""

    bps: Bps | None = None
    ticks: Annotated[Integer, Field(ge=0, le=1_000_000)] | None = None


class Condition(Params):
    """Entries are copied only while all of these hold; None: does not matter.

    min_leader_pnl: the leader's realised P&L at its own prices. min_leader_win_rate: asked once the leader has closed
    `min_leader_trades`. from_hour, to_hour: UTC hours of log time, from inclusive, to exclusive; may wrap midnight.
    """

    min_leader_pnl: Number | None = None
    min_leader_win_rate: Annotated[Number, Field(ge=0, le=1)] | None = None
    min_leader_trades: Annotated[Integer, Field(ge=0)] = 0
    from_hour: Hour | None = None
    to_hour: Hour | None = None
    sides: Literal["both", "long", "short"] = "both"

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if self.min_leader_trades > 0 and self.min_leader_win_rate is None:
            raise ValueError("min_leader_trades says nothing without min_leader_win_rate")
        if (self.from_hour is None) != (self.to_hour is None):
            raise ValueError("from_hour and to_hour go together")
        if self.from_hour is not None and self.from_hour == self.to_hour:
            raise ValueError("from_hour and to_hour must differ")
        if self.from_hour == 24:
            raise ValueError("from_hour: 24 is only an end; a day begins at 0")
        return self


class DriftRepair(Params):
    """What is done when the actual position leaves the expected one by more than `tolerance` (a fraction of it).

    alert: told once per `interval_ms`. next_event: the next event of the leader in the instrument brings it in line.
    now: an order is sent at once (at most one per `interval_ms`), within every cap.
    """

    policy: Annotated[Literal["off", "alert", "next_event", "now"], _word("on", "off")] = "alert"
    tolerance: Annotated[Number, Field(ge=0, le=10)] = Decimal("0.05")
    interval_ms: Milliseconds = 60_000


class InstrumentOverride(Params):
    """Settings that differ for one instrument; what is None is inherited."""

    ratio: Ratio | None = None
    size: SizeMode | None = None
    max_order_notional: Money | None = None
    max_position_notional: Money | None = None
    stop_loss: Distance | None = None
    take_profit: Distance | None = None
    entry_slippage: Slippage | None = None
    exit_slippage: Slippage | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """The fields that differ: name -> value."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


class SubscriptionParams(Params):
    """How one account follows one leader. Amounts are in the account's currency.

    Size
    ratio: multiplies every mode. size: the sizing mode. risk_per_trade: of mode risk_percent, the fraction of equity
        lost when the stop-loss is hit. capital: what this subscription may count as its equity (None: the account's).
    below_minimum: an order below the instrument's minimum is skipped, rounded up to it, or kept for the next event.
    Caps (an order is reduced to what is left; below the minimum it is skipped)
    max_order_notional, max_position_notional (per instrument), max_leader_notional (all positions of the subscription),
    max_day_notional (entries since 00:00 UTC of log time).
    Limits (entries are skipped)
    max_day_orders, max_day_loss (realised, since 00:00 UTC), max_open_trades (instruments with a position).
    Which trades
    instruments: overrides by own instrument. symbol_map: leader's instrument -> own. whitelist (None: any), blacklist:
        own instruments. condition: see Condition. notify_only: told, never traded. copy_existing: positions the leader
        held before this subscription: copied, left alone, or asked about.
    Guards
    max_signal_age_ms, max_exit_age_ms: of the leader's event. max_price_drift_bps: the touch may be this far from the
        leader's price in either direction. entry_slippage, exit_slippage: only in the direction that costs.
    Protection
    stop_loss, take_profit: own distances, or the leader's. trigger: what market data fires them. on_lost_stop: what
        happens to a position whose stop-loss the venue refuses. follow_protection: take over the leader's changes.
    Orders
    order, order_ttl_ms: an entry not sent by then is not sent any more; a resting limit entry is cancelled then.
    leverage: a number, "leader" (at most the account's), or None: the account's. margin_mode likewise.
    Signals (leaders that give no size)
    opposite: what an entry against our open position does: close it, ignore it, or close and turn.
    allow_second_entry: add to an open position of the same side. cool_down_ms: no entry for this long after a close.
    The end
    stop_loss_total, take_profit_total: the subscription's P&L (realised and unrealised, after fees) at which all of its
        positions are closed and it ends. on_leader_closed: what happens to positions when the leader is closed.
    Errors
    halt_on: failures that halt the subscription until resolved. drift: see DriftRepair.
    """

    ratio: Ratio = Decimal(1)
    size: SizeMode = RiskPercentSize()
    risk_per_trade: Fraction = Decimal("0.02")
    capital: Money | None = None
    below_minimum: Literal["skip", "round_up", "accumulate"] = "skip"
    max_order_notional: Money | None = None
    max_position_notional: Money | None = Decimal(1_000)
    max_leader_notional: Money | None = None
    max_day_notional: Money | None = None
    max_day_orders: Count | None = None
    max_day_loss: Money | None = None
    max_open_trades: Count | None = None
    instruments: dict[Instrument, InstrumentOverride] = {}
    symbol_map: dict[Instrument, Instrument] = {}
    whitelist: tuple[Instrument, ...] | None = None
    blacklist: tuple[Instrument, ...] = ()
    condition: Condition = Condition()
    notify_only: bool = False
    copy_existing: Annotated[Literal["yes", "no", "ask"], _word("yes", "no")] = "no"
    max_signal_age_ms: Milliseconds | None = 10_000
    max_exit_age_ms: Milliseconds | None = None
    max_price_drift_bps: Annotated[Number, Field(ge=0)] | None = Decimal(50)
    entry_slippage: Slippage = Slippage()
    exit_slippage: Slippage = Slippage()
    stop_loss: Distance = PercentDistance(fraction=Decimal("0.03"))
    take_profit: Distance = PercentDistance(fraction=Decimal("0.06"))
    trigger: Literal["trade", "quote"] = "trade"
    on_lost_stop: Literal["close", "alert"] = "close"
    follow_protection: bool = True
    order: Entry = MarketEntry()
    order_ttl_ms: Milliseconds = 5_000
    leverage: Annotated[Integer, Field(ge=1, le=125)] | Literal["leader"] | None = None
    margin_mode: Literal["cross", "isolated", "leader"] | None = None
    opposite: Literal["close", "ignore", "reverse"] = "close"
    allow_second_entry: bool = False
    cool_down_ms: Milliseconds | None = None
    stop_loss_total: Money | None = None
    take_profit_total: Money | None = None
    on_leader_closed: Literal["keep", "close"] = "keep"
    halt_on: tuple[ErrorKind, ...] = ("rejected", "insufficient_margin", "protection_lost", "not_closed")
    drift: DriftRepair = DriftRepair()

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        found = [*_lists(self), *_amounts(self, "")]
        if not found:  # an override inherits what is wrong already
            for instrument, override in self.instruments.items():
                merged = self.model_copy(update=override.changes)
                for fields, text in _amounts(merged, f"instruments.{instrument}: "):
                    inherited = set(fields) - set(override.changes)
                    found.append((("instruments", *inherited), text))
        if found:
            named = sorted({field for fields, _ in found for field in fields})
            text = "; ".join(text for _, text in found)
            raise PydanticCustomError("contradiction", "{text}", {"text": text, "fields": named})
        return self


Contradiction = tuple[tuple[str, ...], str]
"""Fields that contradict each other, and what is wrong."""


def _lists(params: SubscriptionParams) -> Iterator[Contradiction]:
    both = sorted(set(params.whitelist or ()) & set(params.blacklist))
    if both:
        yield ("whitelist", "blacklist"), f"whitelist and blacklist both name {', '.join(both)}"
    if params.whitelist is not None and not params.whitelist:
        yield (
            ("whitelist",),
            "whitelist: names nothing, so nothing would be copied; leave it out to allow everything",
        )
    leaders: dict[str, list[str]] = {}
    for leader_instrument, own in sorted(params.symbol_map.items()):
        leaders.setdefault(own, []).append(leader_instrument)
    for own, several in leaders.items():
        if len(several) > 1:
            names = " and ".join(several)
            yield ("symbol_map",), f"symbol_map: two of the leader's instruments map to {own}, one of ours: {names}"


def _amounts(params: SubscriptionParams, where: str) -> Iterator[Contradiction]:
    small, large = params.max_order_notional, params.max_position_notional
    if small is not None and large is not None and small > large:
        fields = ("max_order_notional", "max_position_notional")
        yield (
            fields,
            f"{where}max_order_notional {small} is above max_position_notional {large}, so it can never be reached",
        )
    follows_position = isinstance(params.size, MirrorSize) or (
        isinstance(params.size, InverseSize) and params.size.follows == "position"
    )
    if follows_position and params.below_minimum == "accumulate":
        yield (
            ("below_minimum", "size"),
            f"{where}below_minimum: accumulate contradicts size {params.size.kind}, which counts the whole position",
        )


class ParamsError(ValueError):
    """Settings cannot be used; the text names every wrong field with its path.

    `fields`: the settings that are wrong or contradict each other, sorted; without those within them.
    """

    def __init__(self, text: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.fields = fields


P = TypeVar("P", bound=Params)
_ALTERNATIVES = ("function-", "literal[")  # what pydantic adds to a path for each alternative of a union


def parse(model: type[P], settings: dict[str, Any], where: str) -> P:
    """Return validated settings; raise ParamsError naming every wrong field by its path under `where`."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        lines, fields = [], set()
        for item in error.errors():
            path = tuple(part for part in map(str, item["loc"]) if not part.startswith(_ALTERNATIVES))
            text = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                text = _unknown(path, model)
            fields.update(item.get("ctx", {}).get("fields", path[:1]))
            lines.append(f"{'.'.join((where, *path))}: {text}")
        raise ParamsError("; ".join(lines), tuple(sorted(fields))) from error


def _unknown(path: tuple[str, ...], model: type[Params]) -> str:
    near = get_close_matches(path[0], model.model_fields, n=1, cutoff=0.75) if len(path) == 1 else []
    return f"no such setting; did you mean {near[0]}?" if near else "no such setting"


def parse_subscription_params(settings: dict[str, Any], where: str = "settings") -> SubscriptionParams:
    """Return validated settings; raise ParamsError naming every wrong field by its path under `where`."""
    return parse(SubscriptionParams, settings, where)
