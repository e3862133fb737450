"""How numbers, times and names are written for people: one place for the view, the log lines and the summary."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal


def money(value: Decimal, *, signed: bool = False) -> str:
    """Return an amount with two digits and thousands; `signed` shows a plus as well."""
    rounded = value.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    if rounded == 0:
        rounded = abs(rounded)
    return f"{rounded:+,f}" if signed and rounded != 0 else f"{rounded:,f}"


def amount(value: Decimal) -> str:
    """Return a price or size with no more digits than it needs (never in scientific notation)."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(value: Decimal | None) -> str:
    """Return a price cut to eight significant digits, or a dash."""
    if value is None:
        return "-"
    digits = max(0, 7 - value.adjusted()) if value != 0 else 2
    return amount(round(value, min(digits, 10)))


def count(value: float) -> str:
    """Return a count in at most five characters: 950, 12.3k, 4.56M."""
    if abs(value) < 9_999.5:
        return f"{value:.0f}" if value == int(value) or abs(value) >= 99.95 else f"{value:.1f}"
    for limit, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        scaled = value / limit
        if abs(scaled) < 999.5 or unit == "G":
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{digits}f}{unit}"
    raise AssertionError("the last unit takes all")


def log_time(log_ms: int | None, *, date: bool = False) -> str:
    """Return log time as UTC, to the second."""
    if log_ms is None:
        return "-"
    moment = datetime.fromtimestamp(log_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")


def elapsed(seconds: float) -> str:
    """Return 75 as 0:01:15."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def instrument(name: str) -> str:
    """Return the symbol of `venue:BASE/QUOTE:SETTLE` without what its neighbours repeat."""
    symbol = name.partition(":")[2] or name
    return symbol.partition(":")[0]


def latency(value_ms: float) -> str:
    """Return milliseconds, three digits at most."""
    if value_ms < 10:
        return f"{value_ms:.1f}"
    return f"{value_ms:.0f}" if value_ms < 10_000 else f"{value_ms / 1000:.0f}s"
