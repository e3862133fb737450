"""A bounded memory of keys with a text each; the oldest key is forgotten first.

Entry points: `Memory`, `remember`.

The order is a list of its own, since the order of a dict is lost when a state is encoded with its keys sorted.
"""

import msgspec


class Memory(msgspec.Struct, array_like=True):
    """Texts by key, and the keys, oldest first."""

    known: dict[str, str] = {}
    order: list[str] = []


def remember(memory: Memory, key: str, text: str, most: int) -> None:
    """Keep `text` under `key`; a key that is known keeps its place."""
    if key not in memory.known:
        memory.order.append(key)
    memory.known[key] = text
    while len(memory.order) > most:
        del memory.known[memory.order.pop(0)]
