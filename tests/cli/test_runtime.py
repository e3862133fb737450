"""The run folder: stale files are recognised, files are whole, one holder of the lock."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams import runtime


def test_a_process_tells_of_itself_and_is_alive(tmp_path: Path) -> None:
    told = runtime.announce(tmp_path, "trading", roles=("feed", "strategy"), http_port=81, state="running")
    assert told.alive()
    assert runtime.read_process(tmp_path, "trading") == told
    assert list(runtime.processes(tmp_path)) == [told]
    assert json.loads((tmp_path / "run" / "worker-trading.json").read_text())["roles"] == ["feed", "strategy"]
    runtime.withdraw(tmp_path, "trading")
    assert runtime.read_process(tmp_path, "trading") is None


def test_a_pid_used_again_by_another_program_is_stale(tmp_path: Path) -> None:
    told = runtime.announce(tmp_path, "trading")
    other = dataclasses.replace(told, start_time="another boot/12345")
    runtime.write_json(runtime.process_file(tmp_path, "trading"), dataclasses.asdict(other))
    assert not other.alive()
    assert list(runtime.processes(tmp_path)) == []
    assert runtime.read_process(tmp_path, "trading") == other, "it can still be told of"


def test_dead_processes_and_zombies_are_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = runtime.process_start_time(child.pid)
    assert started is not None
    assert started == runtime.process_start_time(child.pid)
    child.kill()
    limit_s = time.monotonic() + 30
    while runtime.process_start_time(child.pid) is not None:  # a zombie until we wait for it
        assert time.monotonic() < limit_s
        time.sleep(0.01)
    child.wait()
    assert runtime.process_start_time(child.pid) is None
    assert runtime.process_start_time(0) is None


def test_only_the_owner_withdraws(tmp_path: Path) -> None:
    told = runtime.announce(tmp_path, "sink")
    other = dataclasses.replace(told, pid=1)
    runtime.write_json(runtime.process_file(tmp_path, "sink"), dataclasses.asdict(other))
    runtime.withdraw(tmp_path, "sink")
    assert runtime.read_process(tmp_path, "sink") == other


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "x", "pid": "1", "start_time": "s"}', '"x"', "\x00"])
def test_a_damaged_file_is_no_process(tmp_path: Path, text: str) -> None:
    path = runtime.process_file(tmp_path, "sink")
    path.parent.mkdir()
    path.write_text(text)
    assert runtime.read_process(tmp_path, "sink") is None
    assert list(runtime.processes(tmp_path)) == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    runtime.write_json(path, {"a": 1}, private=True)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TypeError):
        runtime.write_json(path, {"a": object()})
    assert runtime.read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"], "nothing is left beside it"


def test_the_lock_has_one_holder_and_ends_with_it(tmp_path: Path) -> None:
    code = "import sys, pathlib, time\nfrom streams import runtime\nfolder = pathlib.Path(sys.argv[1])\n"
    code += (
        "with runtime.FolderLock(folder):\n runtime.announce(folder, 'up')\n print('held', flush=True)\n time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert runtime.FolderLock.held(tmp_path)
    with pytest.raises(runtime.DataFolderBusy, match=f"process {child.pid}"), runtime.FolderLock(tmp_path):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not runtime.FolderLock.held(tmp_path)
    with runtime.FolderLock(tmp_path):
        assert runtime.FolderLock.held(tmp_path)
    assert not runtime.FolderLock.held(tmp_path)


def test_a_folder_that_was_never_used_is_not_held(tmp_path: Path) -> None:
    assert not runtime.FolderLock.held(tmp_path / "nothing")


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    child_code = "import sys, time\nfrom streams import runtime\nruntime.die_with_parent(int(sys.argv[1]))\n"
    child_code += "print('leashed', flush=True)\ntime.sleep(60)"
    parent_code = (
        "import os, subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())],"
    )
    parent_code += " stdout=subprocess.PIPE)\nchild.stdout.readline()\nprint(child.pid, flush=True)\nchild.wait()"
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code, child_code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert runtime.process_start_time(pid) is not None
    parent.kill()
    parent.wait()
    parent.stdout.close()
    limit_s = time.monotonic() + 30
    while runtime.process_start_time(pid) is not None:
        assert time.monotonic() < limit_s, "the child outlived its parent"
        time.sleep(0.01)
