"""Connections: one DSN, chDB inside the process or a server over HTTP.

Entry point: `connect(params, data_dir, database=None)`.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse.errors import Action, SinkBroken, SinkUnavailable, decide
from sinks.clickhouse.params import ClickHouseParams


def connect(params: ClickHouseParams, data_dir: Path, database: str | None = None, *, writing: bool = False) -> Client:
    """Return a client; `database`, if given, must exist.

    chDB holds one data folder per process, and a folder is held by one process at a time; several clients of one
    process share the engine.

    Raises:
        SinkBroken: the embedded folder is in use or cannot be opened; a server refuses the user.
        SinkUnavailable: a server does not answer.
    """
    address = params.address(data_dir)
    if params.embedded:
        folder = Path(unquote(urlsplit(address).path))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkBroken(f"the folder of the embedded ClickHouse cannot be made: {error}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SinkBroken(f"the folder of the embedded ClickHouse cannot be written: {folder}")
    try:
        return _connect(address, database, embedded=params.embedded, writing=writing)
    except (ClickHouseError, OSError) as error:
        verdict = decide(error)
        where = _without_password(address)
        if params.embedded:
            raise SinkBroken(
                f"the embedded ClickHouse cannot be opened at {where}: {error}. One process at a time may hold the "
                "folder: is another `wakeline` running on it? (`wakeline query` asks the one that runs)"
            ) from error
        if verdict.action is Action.RETRY:
            raise SinkUnavailable(f"{where}: {verdict.line}") from error
        raise SinkBroken(f"{where}: {verdict.line}") from error


def _connect(address: str, database: str | None, *, embedded: bool, writing: bool) -> Client:
    if embedded:
        return clickhouse_connect.get_client(dsn=address, database=database)
    parts = urlsplit(address)
    secure = parts.scheme in ("https", "clickhouses")
    return clickhouse_connect.get_client(
        host=parts.hostname,
        port=parts.port or (8443 if secure else 8123),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else "",
        interface="https" if secure else "http",
        # Sessions would make requests from several threads wait for each other ("session is locked").
        autogenerate_session_id=False,
        database=database,
        compress="lz4",
        # An asynchronous insert may be acknowledged before it is written: a position would overtake its rows.
        settings={"async_insert": 0} if writing else None,
    )


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme == "chdb":
        return unquote(parts.path)
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{parts.hostname}{port}"
