"""What runs leave in a data folder, and how it is deleted (`wakeline up --reset`).

Entry points: `existing`, `delete`. Only what wakeline writes is touched: --data may name any folder.
"""

import contextlib
import shutil
from pathlib import Path

_NAMES = ("broker", "clickhouse", "logs", "faust", "timebase.json")
_PATTERNS = ("decisions.db*", "execution.db*")


def existing(data_dir: Path) -> list[Path]:
    """Return all that a reset would delete."""
    found = {data_dir / name for name in _NAMES}
    found |= {path for pattern in _PATTERNS for path in data_dir.glob(pattern)}
    return sorted(path for path in found if path.exists())


def delete(data_dir: Path) -> None:
    """Stop the broker of the folder, if one runs there, and delete what `existing` finds."""
    from streams.broker.cluster import Cluster
    from streams.broker.errors import BrokerError

    if (data_dir / "broker").exists():
        for nodes in (1, 3):
            with contextlib.suppress(BrokerError):  # it has the other number of nodes, or its file is damaged
                Cluster(data_dir / "broker", nodes).stop()
    for path in existing(data_dir):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
