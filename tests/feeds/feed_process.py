"""Runs a feed in a process of its own, so that a test can kill it: `python -m tests.feeds.feed_process ARGS`."""

import asyncio
import sys
from pathlib import Path

import msgspec

from streams.feeds.params import FeedParams
from streams.feeds.publisher import open_timebase, run_feed
from streams.topics_admin import load_catalogue


async def main(params: FeedParams, bootstrap: str, data_dir: Path) -> None:
    """Begin a run and publish to the end; each status on a line of its own."""
    timebase = await open_timebase(params, bootstrap, data_dir)
    result = await run_feed(params, load_catalogue(), bootstrap, timebase, stop=asyncio.Event())
    print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(FeedParams.model_validate_json(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
