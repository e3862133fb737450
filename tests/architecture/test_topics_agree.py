"""topics.yaml and the code agree: a processor writes only to topics that name it as producer."""

import ast
from pathlib import Path

import pytest

from streams.topics_admin import load_catalogue

ROOT = Path(__file__).parents[2]
ROLES = ["strategy", "leader", "account", "statistics"]


def topics_written(role: str) -> set[str]:
    """Topics given as literals or module constants to `Out(...)` in the role's package."""
    written: set[str] = set()
    for path in (ROOT / "processors" / role).rglob("*.py"):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Out" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    written.add(str(first.value))
                elif isinstance(first, ast.Name) and first.id in constants:
                    written.add(str(constants[first.id]))
    return written


@pytest.mark.parametrize("role", ROLES)
def test_a_role_writes_only_where_it_is_declared(role: str) -> None:
    catalogue = load_catalogue()
    declared = {name for name, topic in catalogue.topics.items() if role in topic.producers}
    written = topics_written(role)
    assert written, f"no Out(...) found in processors/{role}: this test would see nothing"
    assert written <= declared


def test_every_inbox_belongs_to_one_reader() -> None:
    inboxes = [topic.inbox_of for topic in load_catalogue().topics.values() if topic.inbox_of]
    assert sorted(inboxes) == sorted(set(inboxes))
    assert set(inboxes) >= {"strategy", "leader", "account", "execution"}
