"""`wakeline tail` as a process, on a real broker."""

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from cli.commands.tail import printable
from cli.exit_codes import ExitCode
from schemas.codec import encode
from tests.cli import sample
from tests.cli.conftest import Running

ROOT = Path(__file__).parents[2]
GOOD = encode(sample.alert("kept"))


def command(running: Running, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", "tail", *arguments, "--data", str(running.data_dir)]


def tail(running: Running, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command(running, *arguments), cwd=ROOT, capture_output=True, timeout=60, check=False)


def publish(running: Running, topic: str, records: list[tuple[bytes | None, bytes | None, int]]) -> None:
    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=running.bootstrap, acks="all")
        await producer.start()
        for key, value, partition in records:
            await producer.send_and_wait(topic, value, key=key, partition=partition)
        await producer.stop()

    asyncio.run(send())


@pytest.fixture(scope="module")
def orders(running: Running) -> list[bytes]:
    values = [encode(sample.order(number)) for number in range(1, 9)]
    publish(running, "orders", [(b"a" if n % 2 else b"b", value, n % 4) for n, value in enumerate(values)])
    return values


def test_all_records_with_place_key_and_value(running: Running, orders: list[bytes]) -> None:
    done = tail(running, "orders", "--from", "start", "--no-follow")
    assert done.returncode == ExitCode.OK, done.stderr
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert {place for place, _, _ in lines} == {f"{partition}@{offset}" for partition in range(4) for offset in (0, 1)}
    assert sorted(value.encode() for _, _, value in lines) == sorted(orders)
    assert {key for _, key, _ in lines} == {"a", "b"}
    assert b"\x1b" not in done.stdout, "no colours in a pipe"


def test_the_last_n_of_the_whole_topic_in_order(running: Running, orders: list[bytes]) -> None:
    done = tail(running, "orders", "--from", "3", "--no-follow")
    assert [line.split("\t")[2].encode() for line in done.stdout.decode().splitlines()] == orders[-3:]


def test_a_key_is_filtered_also_for_the_last_n(running: Running, orders: list[bytes]) -> None:
    done = tail(running, "orders", "--key", "b", "--from", "3", "--no-follow")
    assert [line.split("\t")[2].encode() for line in done.stdout.decode().splitlines()] == orders[0::2][-3:]
    none = tail(running, "orders", "--key", "nobody", "--from", "3", "--no-follow")
    assert (none.returncode, none.stdout) == (ExitCode.OK, b"")


def test_raw_is_the_exact_bytes(running: Running) -> None:
    odd = b'\xff\xfe{"type":\t"x"}\r'
    publish(running, "parked", [(b"k", odd, 0)])
    done = tail(running, "parked", "--raw", "--from", "1", "--no-follow")
    assert done.stdout == odd + b"\n"


def test_what_cannot_be_read_is_shown_as_such_and_harmless(running: Running) -> None:
    publish(running, "alerts", [(b"\x1b]0;k\x07", b"\x1b[2J not json", 0), (b"t", None, 0), (b"k", GOOD, 0)])
    done = tail(running, "alerts", "--from", "3", "--no-follow")
    first, second, third = done.stdout.decode().splitlines()
    assert "(unreadable, 13 bytes: DecodeError" in first
    assert "\x1b" not in first and "\x07" not in first, "a record gives no orders to the terminal"
    assert second.endswith("\tt\t(tombstone)")
    assert third.split("\t")[2].encode() == GOOD


def test_it_follows_and_ctrl_c_ends_it(running: Running) -> None:
    process = subprocess.Popen(
        command(running, "outcomes", "--from", "start"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    publish(running, "outcomes", [(b"k", GOOD, 0)])
    assert process.stdout.readline().endswith(GOOD + b"\n")
    publish(running, "outcomes", [(b"k", GOOD, 1)])
    assert process.stdout.readline().startswith(b"1@0\t")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (ExitCode.OK, b"", b"")


def test_a_closed_pipe_is_a_quiet_end(running: Running) -> None:
    publish(running, "bars", [(b"k", GOOD * 50, 0) for _ in range(300)])
    line = " ".join(command(running, "bars", "--from", "start")) + " | head -n 1; echo ${PIPESTATUS[0]} >&2"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b"0\n"


def test_count_ends_it(running: Running, orders: list[bytes]) -> None:
    done = tail(running, "orders", "--from", "start", "--count", "2")
    assert done.returncode == ExitCode.OK
    assert len(done.stdout.splitlines()) == 2


def test_colours_in_a_terminal(running: Running, orders: list[bytes]) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command(running, "orders", "--from", "1", "--no-follow"), cwd=ROOT, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    seen, limit_s = b"", time.monotonic() + 60
    while time.monotonic() < limit_s:
        if select.select([parent], [], [], 0.1)[0]:
            try:
                seen += os.read(parent, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    assert process.wait(timeout=30) == ExitCode.OK
    assert re.search(rb"\x1b\[\d+m", seen)


def test_a_misspelt_topic_is_told_with_the_nearest(running: Running) -> None:
    done = tail(running, "signal")
    assert done.returncode == ExitCode.TOPICS
    assert done.stderr == b"wakeline: no topic 'signal'. Did you mean 'signals'?\n"
    unknown = tail(running, "something-else")
    assert unknown.returncode == ExitCode.TOPICS
    assert b"has no topic something-else" in unknown.stderr


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        ("Zürich ≥".encode(), "Zürich ≥"),
        (b"a\nb\tc\x1b", "a\\nb\\tc\\x1b"),
        (b"\xff", "\\xff"),
        ("\u202e".encode(), "\\u202e"),
    ],
)
def test_printable(data: bytes, shown: str) -> None:
    assert printable(data) == shown
