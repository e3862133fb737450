"""Reads a text file, plain or gzip, line by line, whatever stands in it.

Entry points: `Line`, `read_lines`, `parked_line`.
A line longer than `MAX_LINE` is never held whole: its beginning is kept, the rest is only measured and hashed.
"""

import base64
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from processors.inbox import PARKED_BYTES
from schemas.codec import encode
from schemas.system import Parked
from streams.feeds.base import PARKED, FeedError, FeedRecord

MAX_LINE: Final = 1 << 20


class Line(NamedTuple):
    """`data` without its line end; for a line above MAX_LINE only its beginning, with whole size and hash."""

    number: int
    data: bytes
    size: int
    sha256: str | None = None


def read_lines(path: Path) -> Iterator[Line]:
    """Yield every line that is not empty, numbered from 1.

    Raises:
        FeedError: the file cannot be read on (not gzip though called .gz, cut off, damaged); says after which line.
    """
    number = 0
    try:
        with _open(path) as file:
            readline = file.readline
            while data := readline(MAX_LINE):
                number += 1
                if len(data) == MAX_LINE and data[-1] != 10:
                    yield _long(file, number, data)
                    continue
                data = data.rstrip(b"\r\n")
                if data:
                    yield Line(number, data, len(data))
    except EOFError as error:
        raise FeedError(f"{path}: the file is cut off after line {number}: copy or download it again") from error
    except (OSError, zlib.error) as error:
        raise FeedError(f"{path}: cannot be read on after line {number}: {error}") from error


def _open(path: Path) -> gzip.GzipFile | IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _long(file: gzip.GzipFile | IO[bytes], number: int, head: bytes) -> Line:
    digest, size, data = hashlib.sha256(head), len(head), head
    while data and data[-1] != 10:
        data = file.readline(MAX_LINE)
        body = data.rstrip(b"\r\n")
        digest.update(body)
        size += len(body)
    return Line(number, head[:PARKED_BYTES], size, digest.hexdigest())


def parked_line(path: Path, line: Line, reason: str, now_ms: int) -> FeedRecord:
    """Return the record that parks a line: source is the file's name and the line."""
    source = f"{path.name}:{line.number}"
    message = Parked(
        now_ms=now_ms,
        source=source,
        reason=reason[:1000],
        value=base64.b64encode(line.data[:PARKED_BYTES]).decode(),
        size=line.size,
        sha256=line.sha256 or hashlib.sha256(line.data).hexdigest(),
    )
    return FeedRecord(PARKED, now_ms, source, line.number, encode(message))
