"""Every folder of ours is under the import contracts, and every package is shipped."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_SHIPPED = {"tests", "bench"}


def _top_level_packages() -> set[str]:
    return {path.parent.name for path in ROOT.glob("*/__init__.py")} - NOT_SHIPPED


def test_every_top_level_package_is_under_contract() -> None:
    assert _top_level_packages() == set(PROJECT["tool"]["importlinter"]["root_packages"])


def test_every_package_is_listed_for_the_build() -> None:
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in _top_level_packages()
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_python_file_lies_in_a_package() -> None:
    orphans = [
        str(path.relative_to(ROOT))
        for top in _top_level_packages()
        for path in (ROOT / top).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert orphans == []
