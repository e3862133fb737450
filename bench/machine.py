"""The machine a benchmark runs on: its name, its cores, and what a process has used of it.

Entry points: `describe`, `cores`, `pin`, `CpuClock`, `idle_share`, `resident_mb`.
"""

import os
import platform
import time
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str]:
    """Return what a reader must know to compare: processor, cores, system, Python, load, versions of the peers."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"CPython {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        **{name: version(name) for name in ("aiokafka", "faust-streaming", "quixstreams", "bytewax", "msgspec")},
        "kafka": kafka_version(),
    }


def version(distribution: str) -> str:
    """Return the installed version, or "not installed"."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def kafka_version() -> str:
    """Return the version of Apache Kafka that the lock of the jars names."""
    lock = Path(__file__).parents[1] / "streams" / "broker" / "kafka.lock"
    for line in lock.read_text().splitlines():
        parts = line.replace(" ", ":").split(":")
        if "kafka_2.13" in parts:
            return parts[parts.index("kafka_2.13") + 1]
    return "unknown"


_USABLE = sorted(os.sched_getaffinity(0))  # before anything is pinned


def cores() -> tuple[int, int]:
    """Return (core of the broker and of whatever feeds it, core of the contender); one core is both."""
    return _USABLE[0], _USABLE[-1]


def pin(core: int) -> None:
    """Bind this process, and every child it starts from now on, to one core."""
    os.sched_setaffinity(0, {core})


class CpuClock:
    """CPU and wall seconds of this process, all threads together, since it was made or since `restart`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Return (CPU seconds, wall seconds)."""
        return time.process_time() - self._cpu, time.perf_counter() - self._wall


def idle_share(over_s: float) -> float:
    """Return which part of all cores nobody used while this waited; 1 where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 1.0
    before = [int(field) for field in stat.read_text().split()[1:9]]
    time.sleep(over_s)
    used = [int(field) - was for field, was in zip(stat.read_text().split()[1:9], before, strict=True)]
    return (used[3] + used[4]) / max(sum(used), 1)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} tells no resident memory")
