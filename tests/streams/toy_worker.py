"""One worker of the toy pipeline, both roles in one process: `python -m tests.streams.toy_worker '<json>'`.

Ends with 0 after SIGTERM (clean), with 70 after any failure.
"""

import asyncio
import json
import logging
import os
import signal
import sys

from streams.app import build_app
from streams.metrics import Metrics
from streams.producer import Publisher
from streams.shell import build_handler
from tests.streams import toy


async def main(conf: dict) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    loop.add_signal_handler(signal.SIGTERM, end, 0)
    prefix = conf["prefix"]
    publisher = Publisher(conf["bootstrap"], request_timeout_s=conf.get("request_timeout_s", 30))
    await publisher.start()
    metrics = Metrics()
    topics = toy.topics(prefix, conf["partitions"], conf["mid_partitions"])
    apps = []
    for role, processor in toy.processors(prefix, conf.get("ballast", 0), conf.get("config", "c1")).items():
        handler = build_handler(
            f"{prefix}{role}",
            processor,
            topics,
            publisher,
            bootstrap=conf["bootstrap"],
            build=conf.get("build", "b1"),
            snapshot_interval_s=conf.get("snapshot_interval_s", 2.0),
            metrics=metrics.role(role),
        )
        app = build_app(
            role,
            handler,
            bootstrap=conf["bootstrap"],
            group=f"{prefix}{role}",
            data_dir=conf["data_dir"],
            on_failure=lambda error: end(70),
            session_timeout_s=conf.get("session_timeout_s", 6.0),
            max_batch=500,
        )
        await app.start_role()
        apps.append(app)
    print("up", flush=True)
    code = await ended
    if code != 0:
        os._exit(code)
    await asyncio.gather(*(app.stop_role() for app in apps))
    await publisher.stop()
    return code


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
