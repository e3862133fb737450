"""Design law 8: nothing but processors/account/gate.py makes an `Order`."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
GATE = "processors/account/gate.py"


def orders_made(source: str) -> Iterator[int]:
    """Yield the lines on which `Order(...)` is called, under whatever name it was imported."""
    tree = ast.parse(source)
    names = {"Order"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "schemas.orders":
            names |= {item.asname for item in node.names if item.name == "Order" and item.asname}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in names:
            yield node.lineno
        if isinstance(called, ast.Attribute) and called.attr == "Order":
            yield node.lineno


def test_only_the_gate_makes_orders() -> None:
    makers = {
        str(path.relative_to(ROOT)): lines
        for top in ("processors", "executors", "streams", "sinks", "replay", "cli")
        for path in sorted((ROOT / top).rglob("*.py"))
        if (lines := list(orders_made(path.read_text())))
    }
    assert set(makers) == {GATE}, makers


def test_a_second_maker_is_seen() -> None:
    assert list(orders_made("from schemas.orders import Order as Approved\nApproved(x=1)\n")) == [2]
    assert list(orders_made("from schemas import orders\norders.Order(x=1)\n")) == [2]
    assert list(orders_made("from schemas.orders import Order\ndef f(x: Order) -> Order: return x\n")) == []
