"""What the brokers know of their logs and aiokafka's clients do not tell, or tell one topic at a time.

Entry points: `sizes`, `offsets`, `UNKNOWN`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

UNKNOWN = (-1, -1)
"""Offsets of a partition that has no leader just now."""

_EARLIEST, _LATEST = -2, -1
_text = String("utf-8")


class _Response(Response):
    API_KEY = 35
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("log_dir", _text),
                (
                    "topics",
                    Array(
                        ("name", _text),
                        (
                            "partitions",
                            Array(("partition", Int32), ("size", Int64), ("lag", Int64), ("is_future", Boolean)),
                        ),
                    ),
                ),
            ),
        ),
    )


class _RequestV1(RequestStruct):
    API_KEY = 35
    API_VERSION = 1
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(("topics", Array(("topic", _text), ("partitions", Array(Int32)))))


class _Request(Request[_RequestV1]):
    API_KEY = 35

    def build(self, request_struct_class: type[_RequestV1]) -> _RequestV1:
        return request_struct_class(None)


async def sizes(admin: AIOKafkaAdminClient) -> Mapping[str, int]:
    """Return bytes on disk by topic, all copies on all brokers together."""
    found: dict[str, int] = defaultdict(int)
    for broker in admin._client.cluster.brokers():
        response = await admin._send_request_to_node(broker.nodeId, _Request())
        for error, _, topics in response.results:
            for name, partitions in topics if error == 0 else ():
                found[name] += sum(size for _, size, _, _ in partitions)
    return found


async def offsets(
    admin: AIOKafkaAdminClient, topics: Iterable[Mapping[str, Any]]
) -> Mapping[tuple[str, int], tuple[int, int]]:
    """Return (first offset, next offset) by (topic, partition) of the topics described; two requests per broker."""
    led: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for topic in topics:
        for part in topic["partitions"]:
            if part["leader"] >= 0:
                led[part["leader"]][topic["topic"]].append(part["partition"])
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for leader, own in led.items():
        for when in (_EARLIEST, _LATEST):
            wanted = [(name, [(number, when) for number in numbers]) for name, numbers in own.items()]
            response = await admin._send_request_to_node(leader, OffsetRequest(-1, 0, wanted))
            for name, partitions in response.topics:
                for number, error, _, offset in partitions:
                    found[name, number].append(offset if error == 0 else -1)
    return {place: (begin, end) if min(begin, end) >= 0 else UNKNOWN for place, (begin, end) in found.items()}
