"""The state of the leader role: bounded memories, and bytes that do not depend on how a state came about."""

from processors.leader.memory import Memory, remember
from processors.leader.state import LeaderState, decode, encode
from tests.processors.leader.world import BTC, ETH, World, made, signal, trade


def test_a_memory_forgets_the_oldest_key_and_keeps_a_known_one_in_its_place() -> None:
    memory = Memory()
    for key in ("a", "b", "a", "c", "a"):
        remember(memory, key, key * 2, 3)
    assert (memory.order, sorted(memory.known)) == (["a", "b", "c"], ["a", "b", "c"])
    remember(memory, "d", "new", 3)
    assert (memory.order, memory.known) == (["b", "c", "d"], {"b": "bb", "c": "cc", "d": "new"})
    remember(memory, "d", "newer", 2)
    assert (memory.order, memory.known) == (["c", "d"], {"c": "cc", "d": "newer"})


def test_equal_states_give_equal_bytes_in_whatever_order_they_were_filled() -> None:
    one = World(made("desk"), signal(1), trade(1, "buy", "1"), trade(2, "buy", "1", instrument=ETH)).state
    other = LeaderState(dict(reversed(one.leaders.items())), one.commands, one.everything)
    held = one.leaders["desk"].book.positions
    assert list(held) == [BTC, ETH]
    before = encode(one)
    assert encode(other) == before
    one.leaders["desk"].book.positions = dict(reversed(held.items()))
    assert encode(one) == before
    assert encode(decode(before)) == before


def test_nothing_is_shared_between_two_states() -> None:
    one, other = World(signal(1)).state, World().state
    assert (len(one.leaders), other.leaders, other.commands.order, LeaderState().leaders) == (1, {}, [], {})
    assert World(signal(1)).state == one
