"""Small inputs for feed tests, written as files."""

import gzip
import json
from pathlib import Path

from streams.feeds.params import BUILTIN_RECORDING


def trade_line(number: int, received_ms: int, symbol: str = "BTCUSDT", venue_ahead_ms: int = 1_200) -> str:
    """One recorded trade, as the exchange would send it."""
    data = {
        "e": "trade",
        "E": received_ms + venue_ahead_ms,
        "T": received_ms + venue_ahead_ms,
        "s": symbol,
        "t": number,
        "p": f"{60_000 + number % 50}.10",
        "q": "0.006",
        "X": "MARKET",
        "m": number % 2 == 0,
    }
    message = {"stream": f"{symbol.lower()}@trade", "data": data}
    return json.dumps({"received_ns": received_ms * 1_000_000 + 7, "message": message})


def write(path: Path, lines: list[str | bytes]) -> Path:
    """Write the lines, gzipped if the name says so."""
    data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def recorded_lines(count: int) -> list[str]:
    """The first lines of the built-in recording."""
    with gzip.open(BUILTIN_RECORDING, "rt") as file:
        return [next(file).rstrip("\n") for _ in range(count)]
