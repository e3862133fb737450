"""A sink that stores a fixed log until it is killed: `python -m tests.sinks.crash_child FOLDER SEED`.

It tells on stdout when it is about to flush, so that whoever kills it can aim into the flush, and `done` at the end.
"""

import random
import sys
from decimal import Decimal
from pathlib import Path

from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.rows import Record
from sinks.clickhouse.sink import ClickHouseSink
from tests.sinks import samples
from tests.sinks.conftest import LONG
from tests.sinks.samples import record

FILLS = 1_200
PARTITIONS = 2


def pnl_of(number: int) -> Decimal:
    return Decimal(number % 97 - 40).scaleb(-2)


def log_of(partition: int) -> dict[str, list[Record]]:
    """The log, the same at each start. Its writer was restarted twice and repeated 50 records each time."""
    status: list[Record] = []
    bars: list[Record] = []
    outcomes: list[Record] = []
    for number in [*range(500), *range(450, 900), *range(850, FILLS)]:
        fill = samples.fill(number, fill_id=f"{partition}-{number}", realized_pnl=pnl_of(number))
        state = samples.order_status(number, order_id=f"{partition}-{number}")
        source = f"account@account-events/{partition}"
        started_us = samples.RECORDED_MS * 1000
        status.append(record(len(status), fill, stamp=f"{number}.0", source=source, started_us=started_us))
        status.append(record(len(status), state, stamp=f"{number}.1", source=source, started_us=started_us))
        bars.append(record(len(bars), samples.bar(number, instrument=f"binanceusdm:S{partition}"), stamp=f"{number}.0"))
        who = {"outcome_id": f"{partition}-{number}", "subscription": f"{partition}"}
        for told in (samples.fan_out(number, partition=partition), samples.copied(number, **who)):
            outcomes.append(record(len(outcomes), told, stamp=f"{number}.{len(outcomes) % 2}", source=source))
    return {"order-status": status, "bars": bars, "outcomes": outcomes}


def main() -> None:
    chance = random.Random(int(sys.argv[2]))
    sink = ClickHouseSink(ClickHouseParams(retention_days=LONG), Path(sys.argv[1]))
    sink.open()
    logs = {
        (topic, partition): records for partition in range(PARTITIONS) for topic, records in log_of(partition).items()
    }
    at = {place: sink.position(*place) for place in logs}
    while True:
        for place, records in logs.items():
            polled = records[at[place] : at[place] + chance.randrange(1, 300)]
            if polled and sink.append(*place, polled):
                raise AssertionError("nothing in this log is bad")
            at[place] += len(polled)
        print("flush", flush=True)
        sink.flush()
        if all(at[place] == len(records) for place, records in logs.items()):
            break
    print("done", flush=True)
    sink.close()


if __name__ == "__main__":
    main()
