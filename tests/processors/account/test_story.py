"""A day of two followers, event by event, with everything the account role says, compared as text.

After a wanted change: `python -m tests.processors.account.test_story` writes `story.txt` again; read its diff.
"""

from collections.abc import Iterator
from pathlib import Path

from schemas.codec import encode
from schemas.reasons import Leg, ReportKind, Side
from tests.processors.account.world import (
    ETH,
    START,
    D,
    World,
    account,
    as_text,
    clock,
    fill,
    instrument,
    kill,
    leader_event,
    leg_fill,
    leg_report,
    marks,
    report,
    subscription,
)

EXPECTED = Path(__file__).parent / "story.txt"
K = ReportKind


def story(restart: bool = False) -> Iterator[str]:
    """Yield each event and what it caused."""
    world = World()

    def give(title: str, *events: object) -> Iterator[str]:
        yield f"# {title}"
        for event in events:
            yield f"> {encode(event).decode()}"
            if restart:
                world.restart()
            yield from as_text(world.give(event))

    second = START + 1000
    yield from give("people decide", account("ann", "10000"), account("bob", "500", max_open_orders=1))
    yield from give(
        "who follows whom",
        subscription("ann-lead", "ann"),
        subscription("bob-lead", "bob", ratio="2", opposite="reverse"),
        subscription("bob-late", "bob", status="paused"),
        subscription("ann-wallet", "ann", leader="wallet"),
    )
    yield from give("the market opens", instrument(), marks("60000", "60000.1"), clock(START + 500))
    yield from give("the leader buys", leader_event(1, now_ms=second))
    ann, bob = sorted(world.orders(), key=lambda order: order.account)
    yield from give(
        "ann's order fills in two parts",
        report(ann, K.SUBMITTED, second + 10),
        report(ann, K.ACCEPTED, second + 20),
        fill(ann, "60000.1", "0.010", "a1", second + 30, fee=D("0.300001")),
        fill(ann, "60000.4", "0.006", "a2", second + 31, fee=D("0.18")),
        leg_report(ann, Leg.STOP_LOSS, K.ACCEPTED, second + 40),
        leg_report(ann, Leg.TAKE_PROFIT, K.ACCEPTED, second + 41),
    )
    yield from give("bob's is unknown, then turns out to be filled", report(bob, K.UNKNOWN, second + 900))
    yield from give("a second signal finds both busy", leader_event(2, now_ms=second + 1000))
    yield from give("the answer", fill(bob, "60000.2", trade="b1", now_ms=second + 1500, fee=None))
    yield from give("the market moves", marks("60500", "60500.1", now_ms=second + 2000), clock(second + 2500))
    yield from give("the leader turns", leader_event(3, Side.SELL, "60500", now_ms=second + 3000))
    exits = {order.account: order for order in world.orders()}
    yield from give("ann is out", fill(exits["ann"], "60499.9", trade="a3", now_ms=second + 3100))
    yield from give("bob turns", fill(exits["bob"], "60499.8", trade="b2", now_ms=second + 3100, fee=None))
    turned = world.orders()[0]
    yield from give("and is short", fill(turned, "60499.7", trade="b3", now_ms=second + 3200, fee=None))
    yield from give(
        "until his stop is hit",
        marks("62400", "62400.1", now_ms=second + 4000),
        leg_fill(turned, Leg.STOP_LOSS, "62320", trade="b4", now_ms=second + 4100),
        leg_report(turned, Leg.TAKE_PROFIT, K.CANCELLED, second + 4110),
    )
    yield from give("trading is stopped", kill("bob", now_ms=second + 5000))
    yield from give("what else is refused", leader_event(4, price="60000", now_ms=second + 6000))
    yield from give("no market", instrument(ETH), leader_event(5, price="2500", name=ETH, now_ms=second + 7000))
    yield from give("an old event", clock(second + 30_000), leader_event(6, price="62400", now_ms=second + 8000))
    yield from give("the next day", clock(START + 86_400_000))


def test_story() -> None:
    assert "\n".join(story()) + "\n" == EXPECTED.read_text(), "read the difference, then see the module's header"


def test_story_with_a_restart_before_every_event() -> None:
    assert "\n".join(story(restart=True)) + "\n" == EXPECTED.read_text()


if __name__ == "__main__":
    EXPECTED.write_text("\n".join(story()) + "\n")
