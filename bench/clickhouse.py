"""The ClickHouse sink beside a bare columnar insert of the same rows: `python -m bench.clickhouse [--rows N]`.

Contenders, interleaved, each into a table of its own in one embedded ClickHouse (chDB), same columns and codecs:

- bare columns   clickhouse-connect `insert(column_oriented=True)`: Python lists made beforehand, times as integer
                 milliseconds, money as Decimal. What a careful script would do with the rows already decoded.
- bare Arrow     the same rows as one Arrow table made beforehand: the floor that no sink can pass.
- sink, rows     ours from decoded records: columns, Arrow, insert, positions.
- sink, bytes    ours from the raw JSON bytes of Kafka: decode, check, columns, Arrow, insert, positions.

CPU time of the whole process, the engine's threads included, so that a shared machine disturbs ratios little.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from schemas.codec import encode
from schemas.market import Bar
from schemas.signals import Signal
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.rows import Record, RowReader
from sinks.clickhouse.sink import ClickHouseSink
from sinks.clickhouse.tables import TABLES

_START_MS = 1_723_075_200_000
_RECORDED_MS = int(time.time() * 1000)  # rows older than their retention would be dropped
_Run = tuple[float, float]  # CPU and wall seconds


def _bar(number: int, price: Decimal, random: Random) -> Bar:
    start_ms = _START_MS + number // 64 * 1_000
    return Bar(
        now_ms=start_ms + 1_000,
        instrument=f"binanceusdm:S{number % 64}/USDT:USDT",
        interval="1s",
        start_ms=start_ms,
        end_ms=start_ms + 1_000,
        open=price,
        high=price + Decimal("1.5"),
        low=price - Decimal("0.7"),
        close=price + Decimal("0.2"),
        volume=Decimal(random.randrange(1, 99_999)).scaleb(-3),
        trades=random.randrange(50),
    )


def _signal(number: int, price: Decimal, random: Random) -> Signal:
    start_ms = _START_MS + number // 64 * 1_000
    names = ("rsi", "macd", "macd_signal", "macd_histogram", "bb_upper", "bb_middle", "bb_lower", "sma_20", "sma_50")
    return Signal(
        now_ms=start_ms + 1_000,
        signal_id=f"{number:032x}",
        strategy="scored",
        params_hash="0123456789abcdef",
        instrument=f"binanceusdm:S{number % 64}/USDT:USDT",
        interval="1s",
        side="buy",  # type: ignore[arg-type]
        signal_class="Buy",  # type: ignore[arg-type]
        strength=random.random(),
        buy_score=4.0,
        sell_score=1.0,
        reasons=("rsi_low", "macd_above_signal", "near_lower_band"),
        indicators={name: random.random() * 100 for name in names},
        price=price,
        bar_start_ms=start_ms,
        bar_end_ms=start_ms + 1_000,
        bar_open=price,
        bar_high=price,
        bar_low=price,
        bar_close=price,
        bar_volume=Decimal("12.345"),
        received_ms=start_ms + 1_001,
        atr=random.random(),
    )


_MAKERS: dict[str, Callable[[int, Decimal, Random], Any]] = {"bars": _bar, "signals": _signal}


def _records(topic: str, count: int, first: int) -> list[Record]:
    random = Random(first)
    records: list[Record] = []
    for number in range(first, first + count):
        price = Decimal(random.randrange(600_000, 601_000)).scaleb(-1)
        headers = [("src", b"strategy@market-data/0"), ("st", b"%d.0" % number), ("t0", b"1760000000000000")]
        records.append((number, b"key", encode(_MAKERS[topic](number, price, random)), headers, _RECORDED_MS))
    return records


def _timed(work: Callable[[], None]) -> _Run:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _columns(topic: str, batch: Any) -> list[list[Any]]:
    """Return the columns of an Arrow batch as a script would hold them: lists, milliseconds, Decimals."""
    times = {name for name, _ in TABLES[topic.removesuffix("s")].times} | {"recorded_at"}
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = column.cast("int64") if name in times else column
        columns.append([dict(value) for value in values.to_pylist()] if name == "indicators" else values.to_pylist())
    return columns


def measure(topic: str, rows: int, rounds: int, folder: Path) -> dict[str, list[_Run]]:
    """Return the runs of every contender over `rows` rows of `topic`, `rounds` times, interleaved."""
    params = ClickHouseParams(flush_rows=1_000_000, flush_bytes=1 << 30, latency_topics=())
    sink = ClickHouseSink(params, folder)
    sink.open()
    client = sink._client
    assert client is not None
    storage = f"{topic}_rows"
    for name in ("bare_columns", "bare_arrow"):
        client.command(f"CREATE TABLE {name} AS {storage}")
    reader = RowReader(topic, latency=False)
    found: dict[str, list[_Run]] = {}
    for turn in range(rounds + 1):  # the first warms up and is left out
        first = turn * rows
        records = _records(topic, rows, first)
        ((_, batch),) = reader.read(0, records).batches
        names = batch.schema.names
        columns = _columns(topic, batch)
        messages = [reader._lean(record[2]) for record in records]  # type: ignore[arg-type]

        def bare_columns(columns: Any = columns, names: Any = names) -> None:
            client.insert("bare_columns", columns, column_names=names, column_oriented=True)

        def bare_arrow(batch: Any = batch) -> None:
            import pyarrow as pa

            client.insert_arrow("bare_arrow", pa.Table.from_batches([batch]))

        def sink_rows(messages: Any = messages, records: Any = records) -> None:
            writer = sink._opened_writer()
            writer.add(reader._batches(1, messages, records), (topic, 1), records[-1][0] + 1)
            sink.flush()

        def sink_bytes(records: Any = records) -> None:
            for start in range(0, len(records), 5_000):  # as polls hand them over
                sink.append(topic, 0, records[start : start + 5_000])
            sink.flush()

        for work in (bare_columns, sink_bytes, bare_arrow, sink_rows):
            run = _timed(work)
            if turn:
                found.setdefault(work.__name__, []).append(run)
        client.command(f"TRUNCATE TABLE {storage}")
        client.command("TRUNCATE TABLE bare_columns")
        client.command("TRUNCATE TABLE bare_arrow")
    sink.close()
    return found


def machine() -> str:
    """Return one line that names the machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}"


def _table(topic: str, rows: int, found: dict[str, list[_Run]]) -> str:
    cpu = {name: statistics.median(run[0] for run in runs) for name, runs in found.items()}
    wall = {name: statistics.median(run[1] for run in runs) for name, runs in found.items()}
    lines = [
        f"**{topic}**, {rows} rows a flush, fsync on, median of {len(found['bare_columns'])}:",
        "",
        "| contender | rows per CPU-second | rows/s | ratio to bare columns | ratio to bare Arrow |",
        "|---|---|---|---|---|",
    ]
    titles = {
        "bare_columns": "bare columnar insert (lists made beforehand)",
        "bare_arrow": "bare Arrow insert (table made beforehand)",
        "sink_rows": "sink, from decoded records",
        "sink_bytes": "**sink, from JSON bytes**",
    }
    for name, title in titles.items():
        lines.append(
            f"| {title} | {rows / cpu[name]:,.0f} | {rows / wall[name]:,.0f} | {cpu['bare_columns'] / cpu[name]:.2f} "
            f"| {cpu['bare_arrow'] / cpu[name]:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=50_000, help="rows a flush (default 50,000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, beside one to warm up (default 7)")
    arguments = parser.parse_args()
    print(f"Machine: {machine()}\n")
    for topic in _MAKERS:
        folder = Path(tempfile.mkdtemp(prefix="wakeline-bench-"))
        try:
            found = measure(topic, arguments.rows, arguments.rounds, folder)
            print(_table(topic, arguments.rows, found), "\n", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
