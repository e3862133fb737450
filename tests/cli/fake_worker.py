"""Stands in for `wakeline worker` in tests of `wakeline up`: the same arguments and run file, and a little traffic.

Behaviour by environment: FAKE_CRASHES (the trading worker ends with code 1 so many times), FAKE_EXIT (it ends with
this code at once), FAKE_DEAF=1 (SIGTERM is ignored).
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from aiohttp import web
from aiokafka import AIOKafkaProducer

from schemas.codec import encode
from schemas.reasons import Leg, OrderState, RefusalReason
from streams import runtime
from tests.cli import sample


async def main() -> None:
    arguments = _arguments()
    data_dir = Path(json.loads(Path(arguments.config).read_text())["data_dir"])
    trading = arguments.name == "trading"
    if trading:
        _misbehave(data_dir)
    runtime.die_with_parent(arguments.parent)
    roles = tuple(arguments.roles.split(","))
    runtime.announce(data_dir, arguments.name, roles=roles)
    stop = asyncio.Event()
    if os.environ.get("FAKE_DEAF") == "1":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    port = await _serve()
    runtime.announce(data_dir, arguments.name, roles=roles, http_port=port, state="running")
    if trading:
        await _publish(arguments.broker, stop)
    else:
        await stop.wait()
    runtime.withdraw(data_dir, arguments.name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("roles", "name", "config", "broker", "http-port"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parent", type=int, required=True)
    return parser.parse_args()


def _misbehave(data_dir: Path) -> None:
    if "FAKE_EXIT" in os.environ:
        print("topics differ, says the fake", file=sys.stderr)
        sys.exit(int(os.environ["FAKE_EXIT"]))
    counter = data_dir / "crashes"
    done = int(counter.read_text()) if counter.exists() else 0
    if done < int(os.environ.get("FAKE_CRASHES", "0")):
        counter.write_text(str(done + 1))
        sys.exit("RuntimeError: the fake was told to crash")


async def _serve() -> int:
    async def query(request: web.Request) -> web.Response:
        assert "UNION ALL" in (await request.json())["sql"]
        return web.Response(text='"table_name","row_count"\n"bars",5\n"fills",2\n"refusals",1\n')

    app = web.Application()
    app.router.add_post("/query", query)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return int(runner.addresses[0][1])


async def _publish(bootstrap: str, stop: asyncio.Event) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    number = 0

    async def send(topic: str, message: object) -> None:
        nonlocal number
        number += 1
        stamps = [("src", b"fake@x/0"), ("st", b"%d.0" % number), ("t0", b"%d" % (time.time_ns() // 1000 - 5_000))]
        await producer.send_and_wait(topic, encode(message), key=b"demo", partition=0, headers=stamps)

    await send("signals", sample.signal(1))
    await send("orders", sample.order(1))
    await send("order-status", sample.fill(1, Leg.ENTRY))
    await send("order-status", sample.fill(1, Leg.TAKE_PROFIT, "1.94"))
    await send("order-status", sample.status(2, OrderState.REFUSED, RefusalReason.COOL_DOWN))
    await send("order-status", sample.position("0.017"))
    await send("order-status", sample.account_state())
    while not stop.is_set():
        await producer.send_and_wait("market-data", b"{}", partition=0)
        await asyncio.sleep(0.05)
    # What is published while it ends counts as well.
    await send("order-status", sample.fill(3, Leg.STOP_LOSS, "-0.97"))
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
