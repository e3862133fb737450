"""Log time: its arithmetic, its file, what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.timebase import TimeBase, TimeBaseError, check_live_clock


class Wall:
    """A wall clock set by hand, in seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def test_replayed_time_runs_at_its_speed(tmp_path):
    wall = Wall(1_000.0)
    base = TimeBase.open(tmp_path, "replayed", 50_000, 10.0, feed="a", wall=wall)
    assert base.now_ms() == 50_000
    wall.seconds += 0.25
    assert base.now_ms() == 52_500
    assert base.wall_s(52_500) == pytest.approx(1_000.25)
    assert base.seconds_until(62_500) == pytest.approx(1.0)


@given(
    st.integers(10**12, 4 * 10**12),
    st.floats(1, 2e9),
    st.sampled_from([0.5, 1.0, 7.5, 10.0, 600.0]),
    st.integers(0, 10**9),
)
def test_wall_s_is_the_inverse_of_now_ms(tmp_path_factory, origin, start, speed, later):
    wall = Wall(start)
    base = TimeBase.open(tmp_path_factory.mktemp("base"), "replayed", origin, speed, feed="a", wall=wall)
    wall.seconds = base.wall_s(origin + later)
    assert abs(base.now_ms() - (origin + later)) <= 1 + speed


def test_time_never_falls_within_a_process(tmp_path):
    wall = Wall(1_000.0)
    base = TimeBase.open(tmp_path, "replayed", 50_000, 1.0, feed="a", wall=wall)
    wall.seconds = 1_001.0
    assert base.now_ms() == 51_000
    wall.seconds = 990.0
    assert base.now_ms() == 51_000
    live = TimeBase.live(wall=wall)
    assert live.now_ms() == 990_000
    wall.seconds = 900.0
    assert live.now_ms() == 990_000


def test_speed_max_follows_what_is_seen(tmp_path):
    wall = Wall(1_000.0)
    base = TimeBase.open(tmp_path, "replayed", 50_000, None, feed="a", wall=wall)
    wall.seconds += 3_600
    assert base.now_ms() == 50_000
    base.observe(70_000)
    base.observe(60_000)
    assert base.now_ms() == 70_000
    assert base.wall_s(10**15) < 0
    assert TimeBase.load(tmp_path, wall=wall).now_ms() == 50_000, "another process begins at the origin and follows"


def test_live_time_is_wall_time_whatever_is_seen(tmp_path):
    wall = Wall(1_000.0)
    base = TimeBase.open(tmp_path, "live", wall=wall)
    base.observe(10**13)
    wall.seconds = 1_002.5
    assert base.now_ms() == 1_002_500
    assert base.wall_s(1_002_500) == 1_002.5
    wall.seconds = 5_000.0
    assert TimeBase.open(tmp_path, "live", tail_ms=1, wall=wall).now_ms() == 5_000_000


def test_a_second_start_goes_on_from_the_tail_at_any_speed(tmp_path):
    wall = Wall(1_000.0)
    TimeBase.open(tmp_path, "replayed", 50_000, 10.0, feed="a", wall=wall)
    wall.seconds = 9_000.0
    base = TimeBase.open(tmp_path, "replayed", 123, 2.0, tail_ms=80_000, feed="a", wall=wall)
    assert base.now_ms() == 80_000
    assert base.feed_origin_ms == 50_000, "the feed's own beginning stays"
    wall.seconds += 1
    assert base.now_ms() == 82_000
    assert TimeBase.load(tmp_path, wall=wall).now_ms() == 82_000
    fast = TimeBase.open(tmp_path, "replayed", None, None, tail_ms=82_500, feed="a", wall=wall)
    assert (fast.now_ms(), fast.speed) == (82_500, None)


def test_saved_progress_stands_in_for_a_log_that_retention_emptied(tmp_path):
    wall = Wall(1_000.0)
    base = TimeBase.open(tmp_path, "replayed", 50_000, 10.0, feed="a", wall=wall)
    base.save_progress(77, 65_000)
    again = TimeBase.open(tmp_path, "replayed", None, 10.0, tail_ms=None, feed="a", wall=wall)
    assert again.progress == (77, 65_000)
    assert again.now_ms() == 65_000


@pytest.mark.parametrize(
    ("kind", "feed"), [("live", ""), ("replayed", "b"), ("replayed", "")], ids=["live", "another feed", "no feed"]
)
def test_another_time_in_the_same_folder_is_refused(tmp_path, kind, feed):
    TimeBase.open(tmp_path, "replayed", 50_000, 10.0, feed="a")
    before = (tmp_path / "timebase.json").read_bytes()
    with pytest.raises(TimeBaseError, match="--reset") as caught:
        TimeBase.open(tmp_path, kind, feed=feed)
    assert str(tmp_path) in str(caught.value)
    assert "another data folder" in str(caught.value)
    assert (tmp_path / "timebase.json").read_bytes() == before


def test_replayed_after_live_is_refused(tmp_path):
    TimeBase.open(tmp_path, "live")
    with pytest.raises(TimeBaseError, match="holds live time"):
        TimeBase.open(tmp_path, "replayed", 1, 1.0, feed="a")


def test_a_log_without_its_time_base_is_refused(tmp_path):
    with pytest.raises(TimeBaseError, match="is missing"):
        TimeBase.open(tmp_path, "replayed", 50_000, 10.0, tail_ms=60_000, feed="a")
    with pytest.raises(TimeBaseError, match="is missing"):
        TimeBase.load(tmp_path)
    assert not (tmp_path / "timebase.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":1}', b"\xff"])
def test_a_damaged_file_is_told(tmp_path, content):
    (tmp_path / "timebase.json").write_bytes(content)
    for start in (lambda: TimeBase.open(tmp_path, "live"), lambda: TimeBase.load(tmp_path)):
        with pytest.raises(TimeBaseError, match="cannot be read"):
            start()


@pytest.mark.parametrize(("kind", "speed"), [("live", 2.0), ("live", None), ("replayed", 0.0), ("replayed", -1.0)])
def test_impossible_speeds_are_refused(tmp_path, kind, speed):
    with pytest.raises(TimeBaseError, match="speed"):
        TimeBase.open(tmp_path, kind, speed=speed)


def test_live_clock_may_be_two_seconds_off():
    check_live_clock(10_000, 12_000)
    check_live_clock(10_000, 8_000)
    for wall_ms, words in ((12_001, "ahead of"), (7_999, "behind")):
        with pytest.raises(TimeBaseError, match=words):
            check_live_clock(10_000, wall_ms)


def test_log_time_stands_until_it_is_started_and_other_processes_see_that(tmp_path):
    wall = Wall(1_000.0)
    base = TimeBase.open(tmp_path, "replayed", 50_000, 10.0, feed="a", started=False, wall=wall)
    other = TimeBase.load(tmp_path, wall=wall)
    wall.seconds += 5
    assert base.now_ms() == other.now_ms() == 50_000
    assert base.seconds_until(50_000) < 0 < base.seconds_until(50_001)
    base.start()
    wall.seconds += 0.5
    base.start()
    assert base.now_ms() == 55_000
    assert other.now_ms() == 55_000


def test_a_feed_that_comes_back_moves_the_others_time_but_never_back(tmp_path):
    wall = Wall(1_000.0)
    TimeBase.open(tmp_path, "replayed", 50_000, 10.0, feed="a", wall=wall)
    other = TimeBase.load(tmp_path, wall=wall)
    wall.seconds += 3
    assert other.now_ms() == 80_000
    again = TimeBase.open(tmp_path, "replayed", None, 2.0, tail_ms=60_000, feed="a", wall=wall)
    wall.seconds += 1.5
    assert again.now_ms() == 63_000
    assert other.now_ms() == 80_000, "it waits"
    wall.seconds += 10
    assert again.now_ms() == other.now_ms() == 83_000


def test_a_file_that_goes_or_changes_its_feed_does_not_move_a_running_process(tmp_path):
    wall = Wall(1_000.0)
    TimeBase.open(tmp_path, "replayed", 50_000, 1.0, feed="a", wall=wall)
    other = TimeBase.load(tmp_path, wall=wall)
    (tmp_path / "timebase.json").unlink()
    wall.seconds += 2
    assert other.now_ms() == 52_000
    TimeBase.open(tmp_path, "replayed", 10**12, 1.0, feed="b", wall=wall)
    wall.seconds += 2
    assert other.now_ms() == 54_000
    (tmp_path / "timebase.json").write_bytes(b"{")
    wall.seconds += 2
    assert other.now_ms() == 56_000
