"""How many bytes each partition takes on the brokers' disks: Kafka's DescribeLogDirs, which aiokafka does not have.

Entry point: `sizes(admin)`.
"""

from collections import defaultdict
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

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
