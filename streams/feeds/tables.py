"""Rows of CSV and Parquet files, as text, whatever their columns are called.

Entry points: `Table.open`, `Table.rows`. A row is a dict of our column names to the file's own text. CSV keeps it digit
for digit. Parquet: decimal and text columns too; floats give their shortest text, since the file has no other.
"""

import csv
import datetime
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from streams.feeds.base import FeedError
from streams.feeds.lines import MAX_LINE, Line, read_lines

BAR_COLUMNS: Final = ("timestamp_ms", "open", "high", "low", "close", "volume")
TRADE_COLUMNS: Final = ("timestamp_ms", "price", "size", "side")
OPTIONAL_COLUMNS: Final = ("id",)

Row = dict[str, str]


class Table:
    """A file of bars or trades.

    kind: "bars" or "trades", told by the columns it has.
    """

    def __init__(self, path: Path, header: Sequence[str], names: Mapping[str, str]) -> None:
        self.path = path
        self.kind, self._columns = _match(path, header, names)
        self._header = list(header)

    @classmethod
    def open(cls, path: Path, names: Mapping[str, str]) -> "Table":
        """Read the header. `names` maps our column names to the file's where they differ.

        Raises:
            FeedError: unknown format, columns missing, or the file cannot be read.
        """
        suffixes = [suffix.lower() for suffix in path.suffixes]
        if suffixes[-1:] == [".parquet"]:
            return ParquetTable(path, _parquet_schema(path), names)
        if ".csv" in suffixes[-2:]:
            return cls(path, _csv_header(path), names)
        raise FeedError(f"{path}: cannot tell its format: the name must end in .jsonl, .csv (also .gz) or .parquet")

    def rows(self) -> Iterator[tuple[Line, Row | str]]:
        """Yield each row, or the reason why its line cannot be used."""
        lines = read_lines(self.path)
        next(lines, None)
        width = len(self._header)
        for line in lines:
            if line.sha256 is not None:
                yield line, f"line of {line.size} bytes is longer than {MAX_LINE}"
                continue
            try:
                cells = next(csv.reader([line.data.decode()], strict=True))
            except (UnicodeDecodeError, csv.Error) as error:
                yield line, f"not a line of CSV: {error}"
                continue
            if len(cells) != width:
                yield line, f"{len(cells)} fields instead of {width}"
                continue
            yield line, {name: cells[index].strip() for name, index in self._columns.items()}


class ParquetTable(Table):
    """A Parquet file; its row number stands for the line (the first row is 2, as below a header)."""

    def rows(self) -> Iterator[tuple[Line, Row | str]]:
        """Yield each row; a missing value is empty text."""
        import pyarrow
        import pyarrow.parquet

        number = 1
        header = [self._header[index] for index in self._columns.values()]
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=10_000, columns=header):
                    for values in batch.select(header).to_pylist():
                        number += 1
                        row = {name: _text(values[self._header[index]]) for name, index in self._columns.items()}
                        raw = json.dumps(row).encode()
                        yield Line(number, raw, len(raw)), row
        except (OSError, pyarrow.ArrowException) as error:
            raise FeedError(f"{self.path}: cannot be read on after row {number}: {error}") from error


def _match(path: Path, header: Sequence[str], names: Mapping[str, str]) -> tuple[str, dict[str, int]]:
    unknown = sorted(set(names) - {*BAR_COLUMNS, *TRADE_COLUMNS, *OPTIONAL_COLUMNS})
    if unknown:
        raise FeedError(f"feed.columns: unknown column {', '.join(unknown)}; ours are {_ours()}")
    folded = {name.strip().lower(): index for index, name in enumerate(header)}
    found = {}
    for name in dict.fromkeys((*BAR_COLUMNS, *TRADE_COLUMNS, *OPTIONAL_COLUMNS)):
        index = folded.get(names.get(name, name).strip().lower())
        if index is not None:
            found[name] = index
    for kind, wanted in (("bars", BAR_COLUMNS), ("trades", TRADE_COLUMNS)):
        if all(name in found for name in wanted):
            optional = OPTIONAL_COLUMNS if kind == "trades" else ()
            return kind, {name: found[name] for name in (*wanted, *optional) if name in found}
    raise FeedError(
        f"{path}:1: columns are {', '.join(header)[:300]}; wanted are {_ours()}: give other names with feed.columns"
    )


def _ours() -> str:
    return f"{', '.join(BAR_COLUMNS)} (bars) or {', '.join(TRADE_COLUMNS)} and perhaps id (trades)"


def _csv_header(path: Path) -> list[str]:
    for line in read_lines(path):
        try:
            return next(csv.reader(io.StringIO(line.data.decode("utf-8-sig")), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise FeedError(f"{path}:{line.number}: not a header line of CSV: {error}") from error
    raise FeedError(f"{path} holds no line")


def _parquet_schema(path: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (OSError, pyarrow.ArrowException) as error:
        raise FeedError(f"{path}: not a Parquet file: {error}") from error


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.UTC)
        return f"@{(value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(milliseconds=1)}"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)
