"""Commands that need nothing running: exit codes, one clear line per failure, the configuration, the doctor."""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from cli import reset, session
from cli.commands import doctor as doctor_module
from cli.commands.up import feed_overrides
from cli.commands.worker import ROLES
from cli.exit_codes import MEANINGS, ExitCode, Failure, as_failure
from cli.main import cli
from cli.options import Chosen, Duration, Speed, Start
from cli.rows import read_counts
from streams.settings import load_settings
from tests.cli.conftest import Running

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), env=environment)


def failed(result: Result, code: ExitCode) -> str:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr


# -- exit codes and failures
def test_every_exit_code_has_a_meaning_in_the_help() -> None:
    assert set(MEANINGS) == set(ExitCode)
    text = run("--help").output
    for code, meaning in MEANINGS.items():
        assert f"{code.value:>3}  {meaning}" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), ExitCode.DISK_FULL),
        (OSError(errno.EADDRINUSE, "Address already in use"), ExitCode.BUSY),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), ExitCode.FAILURE),
        (OSError(errno.EIO, "Input/output error"), None),
        (ValueError("a bug"), None),
    ],
)
def test_errors_of_the_world_have_codes(error: Exception, code: ExitCode | None) -> None:
    found = as_failure(error)
    assert (found.exit_code if found is not None else None) == code


def test_errors_of_other_packages_keep_their_mend() -> None:
    from streams.broker.errors import BrokerBusy, DiskFull, NotInstalled
    from streams.topics_admin import TopicsMismatch

    for cls, code in (
        (BrokerBusy, ExitCode.BUSY), (DiskFull, ExitCode.DISK_FULL), (NotInstalled, ExitCode.BROKER),
        (TopicsMismatch, ExitCode.TOPICS),
    ):  # fmt: skip
        found = as_failure(cls("port 1 is taken", "stop it"))
        assert found is not None
        assert (found.exit_code, str(found)) == (code, "port 1 is taken. stop it")


def test_a_failure_is_one_line_on_stderr() -> None:
    @click.command()
    def broken() -> None:
        raise Failure(ExitCode.DISK_FULL, "no space in /x", "Free some")

    result = CliRunner().invoke(broken)
    assert failed(result, ExitCode.DISK_FULL) == "wakeline: no space in /x. Free some\n"


def test_help_answers_at_once() -> None:
    """Nothing slow is imported for --help: no Kafka client, no settings, no ClickHouse, no rich."""
    code = "import sys, cli.main; print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    slow = {"aiokafka", "faust", "pydantic", "clickhouse_connect", "chdb", "rich", "yaml", "msgspec"}
    assert set(modules.stdout.split()) & slow == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == ExitCode.OK
    assert "_WAKELINE_COMPLETE" in result.stdout
    assert "wakeline" in result.stdout


def test_completion_completes() -> None:
    environment = {**os.environ, "_WAKELINE_COMPLETE": "bash_complete", "COMP_WORDS": "wakeline to", "COMP_CWORD": "1"}
    code = "import cli.main; cli.main.cli(prog_name='wakeline')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "plain,topics"


# -- options
@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("5m", 300), ("1h", 3600), ("500ms", 0.5), ("90", 90), ("1.5s", 1.5), (" 2 s ", 2)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "0", "0s", "1y", "1s2", "nan", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(("text", "speed"), [("10", 10), ("1", 1), ("0.5", 0.5), ("max", "max")])
def test_speeds(text: str, speed: float | str) -> None:
    assert Speed().convert(text, None, None) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", "1e9"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Speed().convert(text, None, None)


@pytest.mark.parametrize(("text", "start"), [("start", "start"), ("end", "end"), ("12", 12)])
def test_starts(text: str, start: str | int) -> None:
    assert Start().convert(text, None, None) == start


@pytest.mark.parametrize("text", ["0", "-3", "begin", "1.5"])
def test_what_is_no_start_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Start().convert(text, None, None)


@pytest.mark.parametrize("broker", ["nohost", "h:", ":9092", "h:x", "h:0", "h:70000", "a:1,b"])
def test_a_broker_is_host_and_port(broker: str) -> None:
    assert "is not host:port" in failed(run("config", "check", "--broker", broker), ExitCode.USAGE)


def test_roles_are_those_of_the_worker() -> None:
    from streams import worker

    assert set(ROLES) == set(worker.ROLES)
    assert set(session.TRADING_ROLES) | set(session.SINK_ROLES) == set(ROLES)


def test_a_misspelt_role_is_told_with_the_nearest() -> None:
    assert "did you mean 'strategy'?" in failed(run("worker", "--roles", "feed,stratgy"), ExitCode.USAGE)


def test_a_worker_needs_a_broker() -> None:
    assert "broker.bootstrap is missing" in failed(run("worker", "--roles", "sink"), ExitCode.CONFIGURATION)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("recording", 1, None, None, None), {"feed.kind": "recording", "feed.path": None, "feed.speed": 1}),
        (
            ("simulated", "max", 50, 1e4, 7),
            {
                "feed.kind": "simulated", "feed.path": None, "feed.speed": "max", "feed.instruments": 50,
                "feed.rate": 1e4, "feed.seed": 7,
            },
        ),
        ((None, None, None, None, None), {}),
    ],
)  # fmt: skip
def test_feed_options(options: tuple[Any, ...], expected: dict[str, Any]) -> None:
    assert feed_overrides(*options) == expected
    load_settings(None, expected)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jsonl", "recording"), ("a.jsonl.gz", "recording"), ("a.csv.gz", "file"), ("a.parquet", "file")],
)
def test_the_kind_of_a_file_follows_its_name(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / name
    file.touch()
    assert feed_overrides(str(file), None, None, None, None)["feed.kind"] == kind


def test_a_feed_that_is_no_file_is_refused() -> None:
    assert "nor a file that is there" in failed(run("up", "--feed", "recordin"), ExitCode.USAGE)


# -- configuration
def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "wakeline.yaml"
    file.write_text(text)
    return str(file)


def test_every_mistake_is_told_with_path_and_nearest_name(tmp_path: Path) -> None:
    text = "feeed: {}\nworker: {http_prt: 1, max_batch: none}\nstrategies: [{name: a, intervall: 1s}]\n"
    for command in (("config", "check"), ("config", "show"), ("up",), ("topics", "list")):
        told = failed(run(*command, "--config", config(tmp_path, text)), ExitCode.CONFIGURATION)
        assert "wakeline.yaml: 4 problems" in told
        assert "feeed: unknown key; did you mean 'feed'?" in told
        assert "worker.http_prt: unknown key; did you mean 'http_port'?" in told
        assert "worker.max_batch: " in told
        assert "strategies.0.intervall: unknown key; did you mean 'interval'?" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "is not valid YAML"),
        ("- a\n", "must be a mapping"),
        ("accounts: [{account: a, subscriptions: [{leader: b}]}]\nstrategies: [{name: bb}]", "did you mean 'bb'?"),
    ],
)
def test_a_wrong_file_never_starts(tmp_path: Path, text: str, told: str) -> None:
    assert told in failed(run("up", "--config", config(tmp_path, text)), ExitCode.CONFIGURATION)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    told = failed(run("config", "check", "--config", str(tmp_path / "no.yaml")), ExitCode.CONFIGURATION)
    assert "no.yaml" in told
    assert "No such file" in told


def test_the_built_in_demonstration_is_right() -> None:
    result = run("config", "check")
    assert result.exit_code == ExitCode.OK
    assert "no problem" in result.stdout


def test_show_tells_value_and_origin_and_can_be_read_back(tmp_path: Path) -> None:
    file = config(tmp_path, "strategies: [{name: mine, interval: 5s}]\nclickhouse: {flush_rows: 7}\n")
    arguments = ("--config", file, "--set", "worker.max_batch=9", "--data", str(tmp_path / "d"))
    result = run("config", "show", *arguments, WAKELINE__WORKER__HTTP_PORT="8123")
    assert result.exit_code == ExitCode.OK, result.output
    lines = {line.split("#")[0].strip(): line.rpartition("#")[2].strip() for line in result.stdout.splitlines()}
    assert lines["flush_rows: 7"] == file
    assert lines['interval: "5s"'] == file
    assert lines["max_batch: 9"] == "option"
    assert lines[f'data_dir: "{tmp_path / "d"}"'] == "option"
    assert lines["http_port: 8123"] == "WAKELINE__WORKER__HTTP_PORT"
    (interval,) = [origin for line, origin in lines.items() if line.startswith("flush_interval_ms: ")]
    assert interval == "default"
    again = tmp_path / "again.yaml"
    again.write_text(result.stdout)
    assert load_settings(again, {}, {}) == load_settings(
        Path(file), {"worker.max_batch": 9, "data_dir": str(tmp_path / "d"), "worker.http_port": 8123}, {}
    )


def test_show_hides_secrets(tmp_path: Path) -> None:
    file = config(
        tmp_path,
        "clickhouse: {dsn: 'http://u:ch-secret@h:8123'}\nexecution: {store: 'postgresql://u:sql-secret@h/db'}\n",
    )
    for fmt in ("yaml", "json"):
        result = run("config", "show", "--config", file, "--format", fmt)
        assert result.exit_code == ExitCode.OK, result.output
        assert "ch-secret" not in result.stdout
        assert "sql-secret" not in result.stdout
        assert "**********" in result.stdout
        assert "@h/db" in result.stdout


def test_settings_reach_the_workers_unchanged(tmp_path: Path) -> None:
    file = config(tmp_path, "clickhouse: {dsn: 'http://u:ch-secret@h:8123'}\n")
    for path in (None, Path(file)):
        settings = load_settings(path, {"data_dir": str(tmp_path), "feed.kind": "simulated", "feed.rate": 5}, {})
        written = session.write_effective(settings, tmp_path)
        assert load_settings(written, {}, {}) == settings
        assert written.stat().st_mode & 0o077 == 0, "it may hold secrets"


def test_environment_settings_do_not_reach_the_workers_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKELINE__FEED__SPEED", "1")
    monkeypatch.setenv("WAKELINE_CACHE", "/cache")
    found = session.worker_environment()
    assert "WAKELINE__FEED__SPEED" not in found
    assert found["WAKELINE_CACHE"] == "/cache"


# -- ports, reset
@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_topics_docs_are_asyncapi(tmp_path: Path) -> None:
    told = json.loads(run("topics", "docs").stdout)
    assert told["asyncapi"].startswith("3.")
    assert run("topics", "docs", "--output", str(tmp_path / "a.json")).stdout == ""
    assert json.loads((tmp_path / "a.json").read_text()) == told


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with taken_port() as port:
        told = failed(run("up", "--data", str(tmp_path / "d"), "--set", f"worker.http_port={port}"), ExitCode.BUSY)
    assert f"port {port} of 127.0.0.1 (worker.http_port) cannot be used" in told
    assert not (tmp_path / "d").exists()


def test_a_taken_broker_port_is_told(tmp_path: Path) -> None:
    for port in range(20_001, 32_000, 97):
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            taken.listen()
            options = ("--data", str(tmp_path / "d"), "--set", f"broker.embedded.port={port}")
            command = [sys.executable, "-m", "cli.main", "up", *options]
            result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            assert result.returncode == ExitCode.BUSY, result.stderr
            assert f"port {port} is taken" in result.stderr.splitlines()[-1]
            return
    raise AssertionError("no free port to take")


def test_reset_deletes_what_runs_leave_and_nothing_else(tmp_path: Path) -> None:
    for name in ("clickhouse", "faust", "logs", "holiday"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    for name in ("timebase.json", "execution.db", "execution.db-wal", "decisions.db", "notes.txt", "mine.db"):
        (tmp_path / name).touch()
    reset.delete(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday", "mine.db", "notes.txt"]


def test_reset_without_a_terminal_wants_yes(tmp_path: Path) -> None:
    (tmp_path / "timebase.json").touch()
    told = failed(run("up", "--reset", "--data", str(tmp_path)), ExitCode.USAGE)
    assert "--yes" in told
    assert "timebase.json" in told
    assert (tmp_path / "timebase.json").exists()


def test_reset_is_not_for_a_broker_of_yours(tmp_path: Path) -> None:
    options = ("--reset", "--yes", "--broker", "h:9092", "--data", str(tmp_path))
    assert "not of the one at h:9092" in failed(run("up", *options), ExitCode.USAGE)


# -- nothing runs
def test_down_query_tail_and_broker_tell_that_nothing_runs(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "none"))
    assert "nothing is running" in failed(run("down", *data), ExitCode.NOT_RUNNING)
    assert "nothing was stored" in failed(run("query", "SELECT 1", *data), ExitCode.FAILURE)
    assert "no broker has run" in failed(run("tail", "orders", *data), ExitCode.BROKER)
    assert "no broker was ever started" in failed(run("broker", "status", *data), ExitCode.NOT_RUNNING)
    assert "no broker was ever started" in failed(run("broker", "stop", *data), ExitCode.NOT_RUNNING)
    with taken_port() as port:
        free = port
    silent = run("topics", "list", "--broker", f"127.0.0.1:{free}")
    assert f"no broker answers at 127.0.0.1:{free}" in failed(silent, ExitCode.BROKER)
    silent = run("up", "--broker", f"127.0.0.1:{free}", *data)
    assert silent.exit_code == ExitCode.BROKER
    assert f"127.0.0.1:{free}" in silent.stderr.splitlines()[-1]


def test_a_query_to_a_silent_address_is_told(tmp_path: Path) -> None:
    with taken_port() as port:
        free = port
    told = failed(run("query", "SELECT 1", "--url", f"http://127.0.0.1:{free}"), ExitCode.NOT_RUNNING)
    assert "no answer from" in told


def test_an_empty_query_is_refused() -> None:
    assert "the SQL is empty" in failed(run("query", " "), ExitCode.USAGE)


def test_counts_are_read_from_csv() -> None:
    assert read_counts('"table_name","row_count"\n"fills",3\n"bars",0\n"other",1\n') == {"bars": 0, "fills": 3}
    assert read_counts("") == {}


# -- topics
def test_topics_are_checked_and_listed(running: Running, tmp_path: Path) -> None:
    assert "no problem" in run("topics", "check").stdout
    wrong = tmp_path / "topics.yaml"
    wrong.write_text("version: 1\ntopics: {bars: {mesages: [bar]}}\n")
    assert "mesages" in failed(run("topics", "check", "--file", str(wrong)), ExitCode.TOPICS)
    data = ("--data", str(running.data_dir))
    listed = run("topics", "list", *data)
    assert listed.exit_code == ExitCode.OK, listed.output
    assert [line.split()[0] for line in listed.stdout.splitlines()][:3] == ["topic", "market-data", "bars"]
    made = run("topics", "create", *data)
    assert made.exit_code == ExitCode.OK
    assert "as topics.yaml declares them" in made.stdout
    status = run("broker", "status", *data)
    assert status.exit_code == ExitCode.OK
    assert running.bootstrap in status.stdout


# -- doctor
def test_the_doctor_looks_at_a_running_broker(running: Running) -> None:
    result = run("doctor", "--data", str(running.data_dir))
    text = result.stdout
    assert f"ok      broker         answers at {running.bootstrap}" in text
    assert "topics.yaml declares them" in text
    for about in ("python", "packages", "java", "broker jars", "configuration", "disk", "running", "clickhouse"):
        assert about in text
    problems = [line for line in text.splitlines() if line.startswith("problem")]
    assert all("->" in line for line in problems), "every problem has its mend"
    assert (result.exit_code == ExitCode.OK) == (not problems)


def test_the_doctor_goes_on_after_a_wrong_configuration(tmp_path: Path) -> None:
    findings = list(doctor_module.examine(Chosen(config=Path(config(tmp_path, "wrong: 1")))))
    assert findings[0].about == "python"
    assert findings[-1].about == "configuration"
    assert findings[-1].code == ExitCode.CONFIGURATION


def test_the_doctor_compares_packages_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    good = doctor_module.locked_versions((ROOT / "requirements" / "runtime.lock").read_text())
    assert "aiokafka" in good
    assert len(good) > 20
    lock.write_text("click==0.0.1 \\\n    --hash=sha256:00\nno-such-package==1.0\nold==1 ; python_version < '3'\n# x\n")
    (finding,) = doctor_module.check_packages(lock)
    assert finding.level == "problem"
    assert finding.mend == "make install"
    assert "click" in finding.text
    assert "no-such-package missing (wanted 1.0)" in finding.text
    assert "old" not in finding.text.replace("no-such", "")


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> Iterator[doctor_module.Finding]:
        raise RuntimeError("it broke")
        yield

    (finding,) = doctor_module._guarded("thing", broken)
    assert (finding.level, finding.about, finding.text) == ("problem", "thing", "RuntimeError: it broke")


def test_the_doctor_finds_a_taken_port_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_port() as port:
        settings = load_settings(None, {"worker.http_port": port, "data_dir": str(tmp_path)}, {})
        (finding,) = doctor_module.check_ports(settings)
    assert finding.level == "problem"
    assert finding.code == ExitCode.BUSY
    monkeypatch.setattr(doctor_module, "_LEAST_FREE_BYTES", 1 << 62)
    assert [f.code for f in doctor_module.check_disk(settings) if f.level == "problem"] == [ExitCode.DISK_FULL]


def test_version_names_the_parts() -> None:
    text = run("version").stdout
    assert "kafka 4" in text
    assert f"python {sys.version_info.major}." in text


def test_json_of_config_show_is_json() -> None:
    entries = json.loads(run("config", "show", "--format", "json").stdout)
    assert {"path", "value", "from"} == set(entries[0])
    assert yaml.safe_load(run("config", "show").stdout)["data_dir"] == "data"
