"""Thousands of seeded schedules over the real inbox core and snapshot ledger; and what each safety device is for.

A failure prints its seed: `World(SEED, **kind).run().check()` repeats it.
"""

import pytest

from processors import inbox
from streams import snapshots
from tests.simulation.world import World, Wrong

KINDS = {
    "kills, zombies, lost first batches": {},
    "with clean stops and changes of configuration": {"stops": 0.02},
    "storm": {"kills": 0.12, "lose": 0.15},
}
SCHEDULES = {
    "kills, zombies, lost first batches": 600,
    "with clean stops and changes of configuration": 600,
    "storm": 250,
}


@pytest.mark.parametrize("kind", KINDS)
def test_schedules_change_nothing(kind):
    for seed in range(SCHEDULES[kind]):
        try:
            World(seed, **KINDS[kind]).run().check()
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}: {error!r}") from error


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_many_more_schedules(kind):
    for seed in range(SCHEDULES[kind], 10_000):
        World(seed, **KINDS[kind]).run().check()


def no_watermark(patch):
    judge = inbox.judge
    patch.setattr(inbox, "judge", lambda *stamps: "apply" if judge(*stamps) == "repeat" else judge(*stamps))


def no_chain(patch):
    patch.setattr(inbox, "judge", lambda stamp, before, mark: "repeat" if mark and stamp <= mark else "apply")


def no_snapshot_id(patch):
    patch.setattr(snapshots, "piece_key", lambda partition, snapshot, number: b"%d/0-x/%d" % (partition, number))
    patch.setattr(snapshots, "manifest_key", lambda partition, snapshot: b"%d/0-x/manifest" % partition)


def one_manifest(patch):
    patch.setattr(snapshots, "manifest_key", lambda partition, snapshot: b"%d/0-x/manifest" % partition)


def last_opener_ignored(patch):
    patch.setattr(snapshots.Ledger, "_clean", lambda self, manifest: manifest.clean)


def any_configuration(patch):
    patch.setattr(snapshots.Ledger, "_clean", lambda self, manifest: True)


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (no_watermark, {}),
        (no_chain, {}),
        (no_snapshot_id, {}),
        (one_manifest, {}),
        (last_opener_ignored, {"stops": 0.02}),
        (any_configuration, {"stops": 0.02}),
        (None, {"seek": "committed"}),
        (None, {"stops": 0.02, "trust_closing": True}),
    ],
    ids=lambda part: getattr(part, "__name__", None) or str(part),
)
def test_each_safety_device_is_needed(break_it, kind, monkeypatch):
    if break_it is not None:
        break_it(monkeypatch)
    with pytest.raises(Wrong):
        for seed in range(300):
            World(seed, **kind).run().check()
