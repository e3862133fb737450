"""The broker as a process: it comes back with what it acknowledged, and says why when it cannot run."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.broker import node as node_module
from streams.broker import process as process_module
from streams.broker.cluster import Cluster, free_ports
from streams.broker.errors import BrokerBusy, BrokerError, DiskFull, NotInstalled
from streams.broker.install import install
from streams.broker.ping import brokers_at
from streams.broker.process import birth


@pytest.fixture(scope="module")
def formatted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a broker of one node has run and was stopped."""
    install()
    folder = tmp_path_factory.mktemp("formatted") / "broker"
    Cluster(folder).start().stop()
    return folder


@pytest.fixture
def cluster(formatted: Path, tmp_path: Path) -> Iterator[Cluster]:
    """A stopped broker of one node, used before."""
    shutil.copytree(formatted, tmp_path / "broker")
    one = Cluster(tmp_path / "broker")
    yield one
    one.stop()


def eventually(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what)


async def make_topic(bootstrap: str, name: str, copies: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    response = await admin.create_topics([NewTopic(name, 1, copies)])
    await admin.close()
    assert response.topic_errors[0][1] == 0


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for answer in [await producer.send(topic, value, partition=0) for value in values]:
            await answer


async def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return [(await consumer.getone()).value for _ in range(count)]


async def test_what_was_acknowledged_survives_kill_9(cluster: Cluster) -> None:
    values = [b"%d" % number for number in range(1000)]
    cluster.start()
    address = cluster.bootstrap
    await make_topic(address, "kept")
    await produce(address, "kept", values)
    cluster.nodes[0].kill()
    assert not cluster.running
    again = Cluster(cluster.folder)
    again.start()
    assert again.bootstrap == address  # ports are kept
    assert await consume(address, "kept", len(values)) == values
    again.stop()
    assert not again.running
    assert brokers_at(again.nodes[0].ports.client) == set()


async def test_three_nodes_lose_one_and_go_on(kafka3: Cluster, unique: str) -> None:
    assert {member for node in kafka3.nodes for member in brokers_at(node.ports.client)} == {1, 2, 3}
    await make_topic(kafka3.bootstrap, unique, copies=3)
    await produce(kafka3.bootstrap, unique, [b"before"])
    kafka3.nodes[0].kill()
    try:
        assert [one.running for one in kafka3.status()] == [False, True, True]
        await produce(kafka3.bootstrap, unique, [b"without"])
        assert await consume(kafka3.bootstrap, unique, 2) == [b"before", b"without"]
    finally:
        kafka3.start()
    assert brokers_at(kafka3.nodes[0].ports.client) == {1, 2, 3}


def test_start_and_stop_twice_do_nothing(cluster: Cluster) -> None:
    pid = cluster.start().nodes[0].pid
    assert cluster.start().nodes[0].pid == pid
    cluster.stop()
    cluster.stop()
    assert cluster.status()[0].pid is None


def test_ports_lie_below_those_that_the_system_hands_out() -> None:
    assert all(port < 32768 for pair in free_ports(3) for port in pair)


def test_a_taken_port_that_was_asked_for_is_one_clear_error(tmp_path: Path) -> None:
    install()
    with socket.socket() as other:
        port = free_ports(1)[0].client
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(BrokerBusy, match=f"port {port} is taken; stop what listens there"):
            Cluster(tmp_path / "b", ports=[port]).start()


def test_a_port_of_our_own_choice_that_is_taken_later_is_chosen_again(cluster: Cluster) -> None:
    taken = cluster.nodes[0].ports.client
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        other.listen()
        cluster.start()
        assert cluster.nodes[0].ports.client != taken
        assert Cluster(cluster.folder).bootstrap == cluster.bootstrap


def test_a_stale_pid_file_with_a_foreign_process_is_not_taken_for_ours(cluster: Cluster) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        pid_file = cluster.nodes[0].folder / "pid.json"
        pid_file.write_text(json.dumps({"pid": other.pid, "born": "an earlier life", "owner": None}))
        assert not cluster.running
        cluster.stop()
        assert other.poll() is None  # not ours: left alone
        pid_file.write_text("{half")
        assert cluster.status()[0].pid is None
        other.kill()


def test_the_broker_ends_when_the_program_that_started_it_is_killed(cluster: Cluster) -> None:
    code = (
        "import sys, threading, time; from streams.broker.cluster import Cluster\n"
        "c = Cluster(sys.argv[1]); t = threading.Thread(target=c.start); t.start(); t.join()\n"
        "print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(cluster.folder)], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        pid = cluster.nodes[0].pid
        assert pid is not None  # also after the thread that started it has ended
        with pytest.raises(BrokerBusy, match=f"belongs to a running program .pid {program.pid}"):
            cluster.start()
        program.send_signal(signal.SIGKILL)
    eventually(lambda: birth(pid) is None, "the broker outlived its program")


def test_a_start_waits_for_the_orphan_of_a_killed_program_to_be_gone(cluster: Cluster) -> None:
    code = "import sys; from streams.broker.cluster import Cluster; Cluster(sys.argv[1], detached=True).start()"
    subprocess.run([sys.executable, "-c", code, str(cluster.folder)], check=True)
    pid_file = cluster.nodes[0].folder / "pid.json"
    told = json.loads(pid_file.read_text())
    pid_file.write_text(json.dumps(told | {"owner": {"pid": told["pid"], "born": "a program that has ended"}}))
    cluster.start()
    assert birth(told["pid"]) is None
    assert cluster.nodes[0].pid not in (None, told["pid"])


def test_a_detached_broker_outlives_its_program_and_is_stopped_from_another(cluster: Cluster) -> None:
    code = "import sys; from streams.broker.cluster import Cluster; Cluster(sys.argv[1], detached=True).start()"
    subprocess.run([sys.executable, "-c", code, str(cluster.folder)], check=True)
    pid = cluster.nodes[0].pid
    assert pid is not None
    assert cluster.start().nodes[0].pid == pid
    cluster.stop()
    eventually(lambda: birth(pid) is None, "the detached broker still runs")


def test_a_frozen_broker_is_ended_all_the_same(cluster: Cluster) -> None:
    cluster.start()
    cluster.nodes[0].signal(signal.SIGSTOP)
    cluster.stop(timeout_s=0.2)
    assert not cluster.running


def test_two_brokers_do_not_share_a_folder_even_without_a_pid_file(cluster: Cluster) -> None:
    cluster.start()
    (cluster.nodes[0].folder / "pid.json").unlink()
    with pytest.raises(BrokerBusy, match="in use by another broker; stop that one first"):
        Cluster(cluster.folder).start()
    assert Cluster(cluster.folder).bootstrap == cluster.bootstrap  # and the first one was not disturbed
    assert cluster.running
    assert brokers_at(cluster.nodes[0].ports.client) == {1}
    cluster.nodes[0].kill()
    cluster.start()  # the lock ended with its holder


def test_a_full_disk_is_one_clear_error(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(cluster.folder)
    monkeypatch.setattr(node_module.shutil, "disk_usage", lambda _: usage._replace(free=50_000_000))
    with pytest.raises(DiskFull, match=r"only 50 MB free for .*free some"):
        cluster.start()


@pytest.mark.parametrize(
    ("line", "kind", "what"),
    [
        ("java.io.IOException: No space left on device", DiskFull, "no space left on the disk"),
        ("java.net.BindException: Address already in use", BrokerBusy, "taken by another program"),
        ("java.lang.OutOfMemoryError: Java heap space", BrokerError, r"raise broker\.embedded\.heap_mb"),
        ("2026 ERROR x Exiting because of y", BrokerError, "Exiting because of y"),
        ("", BrokerError, "no reason in its log"),
    ],
)
def test_the_reason_of_an_end_is_read_from_the_log(tmp_path: Path, line: str, kind: type, what: str) -> None:
    node = Cluster(tmp_path).nodes[0]
    node.folder.mkdir()
    node.log.write_text(f"2026 INFO started\n{line}\n")
    error = node.failure()
    assert type(error) is kind
    with pytest.raises(kind, match=what):
        raise error


def test_a_broker_that_cannot_start_tells_its_own_reason(cluster: Cluster) -> None:
    meta = next((cluster.nodes[0].folder / "data").glob("meta.properties"))
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=9"))
    with pytest.raises(BrokerError, match=r"node 1 ended: .*; look into .*server\.log"):
        cluster.start()
    assert not cluster.running


def test_a_damaged_cluster_file_or_other_number_of_nodes_is_refused(cluster: Cluster) -> None:
    with pytest.raises(BrokerError, match=r"holds a broker of 1 node\(s\), not 3; set broker\.embedded\.nodes"):
        Cluster(cluster.folder, 3)
    (cluster.folder / "cluster.json").write_text("{")
    with pytest.raises(BrokerError, match=r"cluster\.json cannot be read"):
        Cluster(cluster.folder)


def test_without_jars_the_start_says_what_to_run(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAKELINE_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(NotInstalled, match="run `wakeline broker install`"):
        cluster.start()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match="cannot be made"):
        Cluster(tmp_path / "file" / "broker").start()


def test_the_pid_tells_lives_apart() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        born = birth(child.pid)
        assert born is not None
        assert born != birth(os.getpid())
        eventually(lambda: birth(child.pid) is None, "a zombie counts as ended")
    assert birth(os.getpid()) == birth(os.getpid())


def test_a_program_started_by_a_thread_outlives_the_thread(tmp_path: Path) -> None:
    found = []

    def start_sleep() -> None:
        with (tmp_path / "out").open("wb") as output:
            found.append(process_module.spawn_java(["/bin/sleep", "60"], output, leashed=True))
        name = Path(f"/proc/{found[0].pid}/comm")
        eventually(lambda: name.read_text() == "sleep\n", "did not start")  # so its leash is on

    thread = threading.Thread(target=start_sleep)
    thread.start()
    thread.join()
    child = found[0]
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    child.kill()
    child.wait()
