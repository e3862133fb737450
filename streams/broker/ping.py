"""Asks a broker whether it answers, without a client library and without an event loop.

Entry point: `brokers_at`.
"""

import socket


def brokers_at(port: int, host: str = "127.0.0.1", timeout_s: float = 1.0) -> set[int]:
    """Return the ids of the live brokers that the one at `port` knows; empty if it does not answer.

    Speaks one Metadata request (version 1, no topics) of Kafka's protocol, so that no client library and no event
    loop is needed to wait for a broker.
    """
    request = b"\x00\x03\x00\x01\x00\x00\x00\x07\x00\x08wakeline\x00\x00\x00\x00"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(len(request).to_bytes(4, "big") + request)
            answer = _receive(connection, int.from_bytes(_receive(connection, 4), "big"))
    except OSError:
        return set()
    found = set()
    count, place = int.from_bytes(answer[4:8], "big"), 8
    for _ in range(count):
        found.add(int.from_bytes(answer[place : place + 4], "big"))
        place += 6 + int.from_bytes(answer[place + 4 : place + 6], "big") + 4  # id, host, port
        rack = int.from_bytes(answer[place : place + 2], "big", signed=True)
        place += 2 + max(rack, 0)
    return found


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        data += part
    return data
