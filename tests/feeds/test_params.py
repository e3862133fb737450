"""Feed parameters as people write them."""

import pytest
from pydantic import ValidationError

from streams.feeds.params import BUILTIN_RECORDING, FeedParams


def test_defaults_are_the_built_in_recording_at_ten():
    params = FeedParams()
    assert (params.kind, params.speed, params.loops, params.source) == ("recording", 10.0, True, BUILTIN_RECORDING)
    assert not FeedParams(kind="file", path="x.csv").loops
    assert FeedParams(speed="max").speed == "max"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"speed": 0}, "speed"),
        ({"speed": -1}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"speed": float("inf")}, "speed"),
        ({"kind": "file"}, "needs `path`"),
        ({"kind": "simulated", "path": "x.csv"}, "leave `path` out"),
        ({"kind": "simulated", "instruments": 0}, "instruments"),
        ({"kind": "simulated", "instruments": []}, "at least one"),
        ({"kind": "simulated", "instruments": ["a:b", "a:b"]}, "a:b more than once"),
        ({"kind": "simulated", "rate": 0}, "rate"),
        ({"instrument": "BTCUSD"}, "instrument"),
        ({"interval": "7m"}, "interval"),
        ({"clock_interval_ms": 0}, "clock_interval_ms"),
        ({"limit": 0}, "limit"),
        ({"sped": 1}, "sped"),
    ],
)
def test_wrong_parameters_are_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        FeedParams(**fields)
