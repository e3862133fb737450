"""What a person may set on a strategy.

Entry points: `StrategyParams`, `check_set`, `INTERVALS`.

1. Every field is checked here, whole, before anything runs; unknown keys are refused.
2. `params_hash` covers every field that can change a signal, and is part of each signal's id. `name` and `instruments`
   are left out: both stand in the id themselves, so following one more instrument does not rename the signals of the
   others.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.ids import derive_id
from schemas.intervals import INTERVALS


def _known_interval(value: str) -> str:
    if value not in INTERVALS:
        raise ValueError(f"unknown interval {value!r}, one of: {', '.join(INTERVALS)}")
    return value


Period = Annotated[int, Field(ge=2, le=1_000)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Percent = Annotated[float, Field(gt=0, lt=100, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
InstrumentName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s:]+:\S+$")]


class ExtraIndicator(BaseModel):
    """One more indicator whose values a strategy's signals carry, e.g. {indicator: sma, settings: {period: 200}}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    indicator: Annotated[str, Field(description="Name of an indicator in processors/indicators/.")]
    settings: Annotated[dict[str, float], Field(description="Its settings; what is left out has its usual value.")] = {}


class StrategyParams(BaseModel):
    """One strategy: which instruments it reads, on which bars, and how it scores them.

    Periods count bars; thresholds of the RSI are its own points (0-100); weights are score points. `instruments` is
    "*" (all) or a list of names such as "binanceusdm:BTC/USDT:USDT".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Name of the leader it is.")]
    instruments: Annotated[
        Literal["*"] | tuple[InstrumentName, ...], Field(description='"*", or the instruments it reads.')
    ] = "*"
    interval: Annotated[str, AfterValidator(_known_interval), Field(description="Bar interval: tick, 1s ... 1d.")] = (
        "1m"
    )
    scorer: Annotated[str, Field(description="Name of a scorer in processors/scoring/.")] = "weighted"

    rsi_period: Annotated[Period, Field(description="Bars of Wilder's RSI.")] = 14
    macd_fast: Annotated[Period, Field(description="Bars of the fast EMA in MACD.")] = 12
    macd_slow: Annotated[Period, Field(description="Bars of the slow EMA in MACD.")] = 26
    macd_signal: Annotated[Period, Field(description="Bars of MACD's signal line.")] = 9
    bollinger_period: Annotated[Period, Field(description="Bars of the Bollinger bands.")] = 20
    bollinger_deviations: Annotated[
        float, Field(gt=0, le=10, allow_inf_nan=False, description="Half the band, in standard deviations.")
    ] = 2.0
    sma_fast: Annotated[Period, Field(description="Bars of the fast simple average.")] = 20
    sma_slow: Annotated[Period, Field(description="Bars of the slow simple average.")] = 50
    ema_fast: Annotated[Period, Field(description="Bars of the fast exponential average.")] = 12
    ema_slow: Annotated[Period, Field(description="Bars of the slow exponential average.")] = 26
    atr_period: Annotated[Period, Field(description="Bars of Wilder's average true range.")] = 14

    extra_indicators: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], ExtraIndicator],
        Field(description="More indicators, by the name their values get. They take the slower plain kernel."),
    ] = {}

    rsi_oversold: Annotated[Percent, Field(description="RSI below it: strong buy vote.")] = 30.0
    rsi_low: Annotated[Percent, Field(description="RSI below it (but not oversold): buy vote.")] = 40.0
    rsi_high: Annotated[Percent, Field(description="RSI above it (but not overbought): sell vote.")] = 60.0
    rsi_overbought: Annotated[Percent, Field(description="RSI above it: strong sell vote.")] = 70.0
    band_nearness: Annotated[
        float,
        Field(
            ge=0,
            lt=0.5,
            allow_inf_nan=False,
            description="A price is near a band when it is beyond it, or within this part of the band's width from it.",
        ),
    ] = 0.1

    rsi_extreme_weight: Annotated[Weight, Field(description="Points for RSI oversold or overbought.")] = 2.0
    rsi_weight: Annotated[Weight, Field(description="Points for RSI low or high.")] = 1.0
    macd_weight: Annotated[Weight, Field(description="Points for MACD above or below its signal line.")] = 1.0
    bollinger_weight: Annotated[Weight, Field(description="Points for a price near a band.")] = 1.0
    sma_weight: Annotated[Weight, Field(description="Points for the fast SMA above or below the slow one.")] = 1.0
    ema_weight: Annotated[Weight, Field(description="Points for the fast EMA above or below the slow one.")] = 1.0

    publish_above: Annotated[
        float, Field(ge=0.5, lt=1, allow_inf_nan=False, description="A strength above it is published.")
    ] = 0.6
    class_from: Annotated[
        Fraction, Field(description="Buy or Sell from this strength on; weaker ones are WeakBuy or WeakSell.")
    ] = 0.65
    strong_from: Annotated[
        Fraction, Field(description="StrongBuy or StrongSell from this strength on, if the score is large enough.")
    ] = 0.65
    strong_score: Annotated[
        float, Field(gt=0, le=1_000, allow_inf_nan=False, description="Smallest score of a StrongBuy or StrongSell.")
    ] = 4.0

    emit: Annotated[
        Literal["each_bar", "on_change"],
        Field(description="A signal on each closed bar that has one, or only when the class changes."),
    ] = "on_change"
    publish_tick_bars: Annotated[bool, Field(description="Put each tick on `bars` too (interval tick only).")] = False
    bar_grace_ms: Annotated[
        int, Field(ge=0, le=60_000, description="A bar closes in a quiet market this much log time after its end.")
    ] = 500
    late_tolerance_ms: Annotated[
        int,
        Field(
            ge=0,
            le=86_400_000,
            description="Trades for a bar already closed are never applied and always counted; those that are late by "
            "more than this also raise an alert.",
        ),
    ] = 1_000
    marks_interval_ms: Annotated[
        int, Field(ge=10, le=60_000, description="Best bid and ask go to the accounts this often, in log time.")
    ] = 250

    @model_validator(mode="after")
    def _consistent(self) -> "StrategyParams":
        for fast, slow in (("macd_fast", "macd_slow"), ("sma_fast", "sma_slow"), ("ema_fast", "ema_slow")):
            if getattr(self, fast) >= getattr(self, slow):
                raise ValueError(f"{fast} ({getattr(self, fast)}) must be smaller than {slow} ({getattr(self, slow)})")
        ladder = ("rsi_oversold", "rsi_low", "rsi_high", "rsi_overbought")
        for lower, upper in pairwise(ladder):
            if getattr(self, lower) > getattr(self, upper):
                raise ValueError(f"{lower} ({getattr(self, lower)}) must not be above {upper} ({getattr(self, upper)})")
        if self.class_from < self.publish_above:
            raise ValueError(f"class_from ({self.class_from}) must not be below publish_above ({self.publish_above})")
        if self.strong_from < self.class_from:
            raise ValueError(f"strong_from ({self.strong_from}) must not be below class_from ({self.class_from})")
        if not isinstance(self.instruments, str):
            if len(self.instruments) == 0:
                raise ValueError('instruments must name at least one instrument, or be "*"')
            if len(set(self.instruments)) != len(self.instruments):
                raise ValueError("instruments names one instrument twice")
        if self.publish_tick_bars and self.interval != "tick":
            raise ValueError("publish_tick_bars needs interval tick: bars of other intervals are always published")
        return self

    @property
    def params_hash(self) -> str:
        """Hash of every field that can change a signal: 32 hex characters (see invariant 2 above).

        Worked out on each reading: a value kept in the model would survive `model_copy(update=...)`.
        """
        return derive_id("strategy-params", self.model_dump_json(exclude={"name", "instruments"}))

    @property
    def config_hash(self) -> str:
        """Hash of all fields: 32 hex characters."""
        return derive_id("strategy-config", self.model_dump_json())

    def reads(self, instrument: str) -> bool:
        """Whether this strategy follows `instrument`."""
        return self.instruments == "*" or instrument in self.instruments


def check_set(params: Sequence[StrategyParams]) -> None:
    """Raise ValueError unless these strategies can run beside each other."""
    names = [item.name for item in params]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two strategies are named {name!r}: each needs its own name")
    for item in params:
        first = params[0]
        if item.marks_interval_ms != first.marks_interval_ms:
            raise ValueError(
                f"strategies {first.name} and {item.name} differ in marks_interval_ms: they share one stream of marks"
            )
        for other in params:
            for field in ("bar_grace_ms", "late_tolerance_ms"):
                if item.interval == other.interval and getattr(item, field) != getattr(other, field):
                    raise ValueError(
                        f"strategies {item.name} and {other.name} differ in {field}, but share their "
                        f"{item.interval} bars: give them the same value"
                    )
