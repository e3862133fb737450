"""Each law that a tool checks is broken on purpose in a copy of the tree, and the tool must say so."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["schemas", "processors", "executors", "sinks", "streams", "replay", "cli"]

# (law, file to add to or make, lines, contract that must break)
IMPORT_BREAKS = [
    ("logic imports streams", "processors/leader/broken.py", "import streams.settings\n", "Imports go one way"),
    ("logic reads a clock", "processors/leader/broken.py", "import time\n", "No I/O, clock or chance"),
    ("schemas draw chance", "schemas/broken.py", "import random\n", "No I/O, clock or chance"),
    ("logic logs", "processors/account/broken.py", "import logging\n", "No I/O, clock or chance"),
    ("an executor imports faust", "executors/broken.py", "import faust\n", "Faust lives in streams"),
    ("a sink imports an executor", "sinks/broken.py", "import executors.protocols\n", "Imports go one way"),
    ("replay imports the command line", "replay/broken.py", "import cli.main\n", "Imports go one way"),
    (
        "one indicator imports another",
        "processors/indicators/ema.py",
        "import processors.indicators.rsi\n",
        "Extensions",
    ),
    (
        "one risk check imports another",
        "processors/account/risk/daily_loss.py",
        "import processors.account.risk.drawdown\n",
        "Extensions",
    ),
    ("a cycle inside processors", "processors/strategy/broken.py", "import processors.leader.broken\n", "No cycles"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with its project file."""
    target = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("*.gz", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)
    return target


def _lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    return subprocess.run([sys.executable, "-P", "-c", command, "--no-cache"], cwd=tree, capture_output=True, text=True)


def test_the_tree_as_it_is_keeps_the_contracts(copy: Path) -> None:
    run = _lint_imports(copy)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(("law", "name", "lines", "contract"), IMPORT_BREAKS, ids=[b[0] for b in IMPORT_BREAKS])
def test_a_broken_import_law_is_seen(copy: Path, law: str, name: str, lines: str, contract: str) -> None:
    path = copy / name
    before = path.read_text() if path.exists() else None
    other = copy / "processors/leader/broken.py"
    try:
        path.write_text((before or '"""Broken on purpose."""\n') + lines)
        if law == "a cycle inside processors":
            other.write_text('"""Broken on purpose."""\nimport processors.strategy.broken\n')
        run = _lint_imports(copy)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
        other.unlink(missing_ok=True)
    broken = [line for line in run.stdout.splitlines() if line.endswith("BROKEN")]
    assert run.returncode != 0
    assert any(line.startswith(contract) for line in broken), run.stdout


@pytest.mark.parametrize(
    "line",
    ["x = datetime.datetime.now()", "x = datetime.datetime.now(tz=datetime.UTC)", "x = datetime.date.today()"],
)
def test_a_clock_or_print_in_logic_is_seen_by_ruff(copy: Path, line: str) -> None:
    path = copy / "processors/leader/broken.py"
    path.write_text(f'"""Broken on purpose."""\n\nimport datetime\n\n{line}\ny = datetime.UTC\n')
    try:
        run = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--no-cache", str(path)], cwd=copy, capture_output=True, text=True
        )
    finally:
        path.unlink()
    assert "TID251" in run.stdout
