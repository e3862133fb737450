"""Which program this is: a snapshot names it, since other code may give other results from the same state."""

import hashlib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS_COME_FROM = ("schemas", "processors")


def build_id() -> str:
    """Return version and a hash of the code that decides results (schemas/ and processors/)."""
    digest = hashlib.sha256()
    for folder in RESULTS_COME_FROM:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    try:
        version = metadata.version("wakeline")
    except metadata.PackageNotFoundError:
        version = "0"
    return f"{version}+{digest.hexdigest()[:12]}"
