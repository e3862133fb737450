"""Finds extensions: one file, one export (design law 9).

`discover(package, export)` imports every module of a package in sorted order and returns {name: export}; a module
without the export, or two exports of one name, is an error.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any


def discover(package: ModuleType, export: str) -> dict[str, Any]:
    """Return the `export` of each public module of `package`, keyed by its `name` attribute, sorted by module.

    Raises:
        TypeError: a module has no such export, or two have the same name.
    """
    found: dict[str, Any] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        item = getattr(module, export, None)
        if item is None:
            raise TypeError(f"{module.__name__} must export {export} (one extension per file)")
        if item.name in found:
            raise TypeError(f"{module.__name__}: {export} named {item.name!r} exists already")
        found[item.name] = item
    return found
