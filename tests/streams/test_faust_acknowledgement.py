"""What Faust 0.15.3 does with the acknowledgement of an event whose agent fails; an upgrade must not change it unseen.

Our app uses `noack` streams and commits nothing by Faust's acknowledgements (streams/transport.py, 3); the default
stream would acknowledge an event that failed or was cancelled in flight.
"""

import asyncio
import gc

import faust
import pytest
from faust.events import Event
from faust.types import Message


def message(offset: int) -> Message:
    return Message("topic", 0, offset, 0.0, 0, [], b"", b"%d" % offset, None, 0, 0, None, generation_id=0)


async def run(noack: bool, fails: bool) -> list[bool]:
    """Put offsets 0, 1, 2 on a stream; handle 0, fail or hang on 1, never reach 2; return what was acknowledged."""
    app = faust.App("acknowledgement", broker="kafka://127.0.0.1:1", web_enabled=False, autodiscover=False)
    app.flow_control.resume()
    app.consumer_generation_id = 0
    stream = app.stream(app.channel())
    if noack:
        stream = stream.noack()
    messages = [message(offset) for offset in range(3)]
    for one in messages:
        one.incref()
        stream.channel.queue.put_nowait(Event(app, None, one.value, [], one))
    reached = asyncio.Event()

    async def agent() -> None:
        async for event in stream.events():
            if event.message.offset == 1:
                reached.set()
                if fails:
                    raise ValueError("bug")
                await asyncio.sleep(60)
            if noack:
                await stream.ack(event)

    task = asyncio.create_task(agent())
    await asyncio.wait_for(reached.wait(), 10)
    if not fails:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del task
    for _ in range(5):  # the generator left behind is closed by the loop, and acknowledges then
        gc.collect()
        await asyncio.sleep(0)
    return [one.acked for one in messages]


@pytest.mark.parametrize(
    ("noack", "fails", "acknowledged"),
    [
        (False, True, [True, True, False]),  # the failed event is lost
        (False, False, [True, True, False]),  # so is one cancelled in flight
        (True, True, [True, False, False]),
        (True, False, [True, False, False]),
    ],
)
async def test_what_is_acknowledged_when_an_agent_fails(noack, fails, acknowledged):
    assert await run(noack, fails) == acknowledged
