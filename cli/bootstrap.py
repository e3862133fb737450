"""Where the broker of a data folder is, for commands that look at a running system.

Entry points: `find`, `client`, `partitions_of`, `answers`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.exit_codes import ExitCode, Failure

if TYPE_CHECKING:
    from streams.settings import Settings


def find(settings: "Settings") -> str:
    """Return host:port[,host:port] of the broker: the configured one, or the embedded one of the data folder.

    Raises:
        Failure: the embedded one was never started there.
    """
    if settings.broker.bootstrap is not None:
        return settings.broker.bootstrap
    file = embedded_folder(settings.data_dir) / "cluster.json"
    try:
        return ",".join(f"127.0.0.1:{ports[0]}" for ports in json.loads(file.read_text())["ports"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise Failure(
            ExitCode.BROKER,
            f"no broker has run on the data folder {settings.data_dir}",
            "Start `wakeline up` or `wakeline broker start`, or name one by --broker host:port",
        ) from None


def client(settings: "Settings") -> dict[str, Any]:
    """Return the keyword arguments of aiokafka's clients for the broker of these settings.

    Raises:
        Failure: none is known, or none answers.
    """
    from streams.broker.params import client_options

    bootstrap = find(settings)
    if not any(answers(address) for address in bootstrap.split(",")):
        own = settings.broker.bootstrap is None
        raise Failure(
            ExitCode.BROKER,
            f"no broker answers at {bootstrap}",
            "Start `wakeline up` or `wakeline broker start`" if own else "Is it running, and is the address right?",
        )
    return {"bootstrap_servers": bootstrap, **client_options(settings.broker.security)}


async def partitions_of(client: dict[str, Any], topic: str) -> list[int]:
    """Return the partitions of a topic; empty when the broker does not have it. Never makes the topic.

    Asked of the admin client: a consumer knows only the partitions of topics that it was given before.
    """
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        found = await admin.describe_topics()
    finally:
        await admin.close()
    entry = next((entry for entry in found if entry["topic"] == topic and entry["error_code"] == 0), None)
    return [] if entry is None else sorted(part["partition"] for part in entry["partitions"])


def answers(address: str, timeout_s: float = 2.0) -> bool:
    """Return whether something accepts connections at host:port."""
    import socket

    host, _, port = address.strip().rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def embedded_folder(data_dir: Path) -> Path:
    """Return the folder of the embedded broker."""
    return data_dir / "broker"
