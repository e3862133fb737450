"""What the broker says of its topics, for consumers that are assigned by hand.

aiokafka's `partitions_for_topic` only knows topics a consumer has subscribed to, and `topics()` keeps nothing.
"""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer

PATIENCE_S: Final = 10.0
"""A topic made a moment ago may not be known to every broker yet."""


class NoSuchTopic(RuntimeError):
    """The broker does not know the topic."""


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    """Return the partition numbers of a topic, in order.

    Raises:
        NoSuchTopic: the broker does not know it, after some patience.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        known = (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic)
        if known:
            return sorted(known)
        if asyncio.get_running_loop().time() > deadline:
            raise NoSuchTopic(f"the broker knows no topic {topic}: create the topics first (`wakeline topics create`)")
        await asyncio.sleep(0.1)
