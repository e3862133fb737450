"""What a worker measures, for Prometheus.

Entry points: `Metrics` (one per process), `RoleMetrics` (`Metrics.role(name)`), `Metrics.page`.
Names begin with `wakeline_`; the label `role` tells the role. Nothing here is ever read by logic.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS: Final = (0.0001, 0.0003, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0)


class Metrics:
    """The registry of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"wakeline_{name}", text, ("role", *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"wakeline_{name}", text, ("role", *labels), registry=registry)

        def seconds(name: str, text: str) -> Histogram:
            return Histogram(f"wakeline_{name}", text, ("role",), registry=registry, buckets=SECONDS)

        self.records = counter("records", "records applied", "topic")
        self.outputs = counter("outputs", "records published and acknowledged", "topic")
        self.repeats = counter("repeats", "records skipped because they were repeats")
        self.held = counter("held", "records not applied because records before them are missing")
        self.parked = counter("parked", "records that could not be used")
        self.refused = counter("refusals", "orders and entries we refused", "reason")
        self.alerts = counter("alerts", "alerts told", "kind")
        self.lag = gauge("lag_records", "records not yet applied", "topic", "partition")
        self.holes = gauge("stream_holes", "sources whose records wait for missing ones")
        self.step = seconds("step_seconds", "time to decode and apply one batch")
        self.publish = seconds("publish_seconds", "time until the broker had all outputs of one batch")
        self.latency = seconds("latency_seconds", "publication of the first cause to acknowledgement of our output")
        self.snapshot_at = gauge("snapshot_timestamp_seconds", "when the state was last saved", "partition")
        self.snapshot_bytes = gauge("snapshot_bytes", "size of the saved state, compressed", "partition")
        self.snapshot_position = gauge("snapshot_position", "position of the saved state", "partition")
        self._roles: dict[str, RoleMetrics] = {}

    def role(self, name: str) -> "RoleMetrics":
        """Return the metrics of one role."""
        if name not in self._roles:
            self._roles[name] = RoleMetrics(self, name)
        return self._roles[name]

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        for role in self._roles.values():
            role.refresh()
        return generate_latest(self.registry)


class RoleMetrics:
    """The metrics of one role, its label bound once, since binding costs more than counting."""

    def __init__(self, metrics: Metrics, role: str) -> None:
        self._all, self._role = metrics, role
        self.step = metrics.step.labels(role)
        self.publish = metrics.publish.labels(role)
        self.latency = metrics.latency.labels(role)
        self.repeats = metrics.repeats.labels(role)
        self.held = metrics.held.labels(role)
        self.parked = metrics.parked.labels(role)
        self.holes = metrics.holes.labels(role)
        self._bound: dict[tuple[str, ...], Any] = {}
        self._lag: Callable[[], Mapping[Any, int]] | None = None

    def _get(self, name: str, *labels: str) -> Any:
        bound = self._bound.get((name, *labels))
        if bound is None:
            bound = self._bound[name, *labels] = getattr(self._all, name).labels(self._role, *labels)
        return bound

    def records(self, topic: str, count: int) -> None:
        """Count records applied."""
        self._get("records", topic).inc(count)

    def output(self, topic: str, count: int = 1) -> None:
        """Count records published."""
        self._get("outputs", topic).inc(count)

    def refusal(self, reason: str) -> None:
        """Count one refusal."""
        self._get("refused", reason).inc()

    def alert(self, kind: str) -> None:
        """Count one alert."""
        self._get("alerts", kind).inc()

    def snapshot(self, partition: int, position: int, size: int, at_s: float) -> None:
        """Note that a state was saved."""
        label = str(partition)
        self._get("snapshot_at", label).set(at_s)
        self._get("snapshot_bytes", label).set(size)
        self._get("snapshot_position", label).set(position)

    def forget(self, topic: str, partition: int) -> None:
        """Drop what was told of a partition that is not ours any more."""
        label = str(partition)
        for gauge, labels in (
            ("lag", (topic, label)),
            ("snapshot_at", (label,)),
            ("snapshot_bytes", (label,)),
            ("snapshot_position", (label,)),
        ):
            if self._bound.pop((gauge, *labels), None) is not None:
                getattr(self._all, gauge).remove(self._role, *labels)

    def watch_lag(self, lag: Callable[[], Mapping[Any, int]]) -> None:
        """Ask `lag()` ({(topic, partition): records}) whenever the page is read."""
        self._lag = lag

    def refresh(self) -> None:
        """Bring the gauges that are asked for up to date."""
        if self._lag is not None:
            for (topic, partition), records in self._lag().items():
                self._get("lag", topic, str(partition)).set(records)
