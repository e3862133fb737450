"""The catalogue: what topics.yaml may say, and what each mistake is answered with."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.examples import EXAMPLES
from schemas.topics import CatalogueError, key_of, parse_topics

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "topics.yaml").read_text(encoding="utf-8")

SMALL = """\
version: 1
defaults: {replication: 3, min_insync: 2}
topics:
  market-data:
    about: Market data.
    messages: [trade, clock]
    key: instrument
    broadcast: [clock]
    partitions: 4
    retention: 24h
    stage: 1
    gap: allowed
    edge: true
    producers: [feed]
    inbox_of: strategy
    consumers: [strategy]
  orders:
    about: Orders.
    messages: [order]
    key: account
    partitions: 4
    retention: 7d
    stage: 3
    gap: fatal
    edge: false
    producers: [account]
    inbox_of: execution
    consumers: [execution]
  account-events:
    about: Inbox of the account role.
    messages: [venue_report]
    key: account
    partitions: 4
    retention: 7d
    stage: 2
    gap: fatal
    edge: false
    producers: [execution]
    inbox_of: account
    consumers: [account]
    feedback: [execution]
"""


def edited(old: str, new: str, count: int = 1) -> str:
    """SMALL with one edit; the edit must find its place."""
    assert old in SMALL
    return SMALL.replace(old, new, count)


def problems(text: str) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        parse_topics(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_repository_s_catalogue_is_whole() -> None:
    catalogue = parse_topics(TEXT)
    assert set(catalogue.topics) >= {"market-data", "signals", "orders", "order-status", "control", "parked"}
    assert catalogue.inbox_of("account").name == "account-events"
    assert catalogue["control"].compact
    assert catalogue["control"].retention_ms is None
    assert catalogue["market-data"].retention_ms == 24 * 3_600_000
    assert [catalogue[name].partitions for name in ("snapshots-leader", "leader-events")] == [4, 4]
    assert catalogue["snapshots-leader"].producers == ("leader",)  # the anchor's own, merged, then replaced
    assert catalogue["snapshots-leader"].compact  # merged from the anchor


def test_every_message_type_stands_on_some_topic_or_inside_another() -> None:
    stand = {tag for topic in parse_topics(TEXT).topics.values() for tag in topic.messages}
    assert set(EXAMPLES) - stand == {"mark", "protection"}


def test_key_of_joins_the_fields() -> None:
    catalogue = parse_topics(TEXT)
    assert key_of(catalogue["signals"], EXAMPLES["signal"]) == "trend/binanceusdm:BTC/USDT:USDT"
    assert key_of(catalogue["orders"], EXAMPLES["order"]) == "main"


def test_an_unknown_topic_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'order-status'"):
        parse_topics(TEXT)["order-statuses"]


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "what", "mend"),
    [
        ("partitions: 4", "partions: 4", 9, "topics.market-data.partions", "unknown key", "'partitions'"),
        ("    partitions: 4\n", "", 4, "topics.market-data.partitions", "is missing", "add it"),
        ("defaults: {rep", "defaults: {repl: 1, rep", 2, "defaults.repl", "unknown key", "'replication'"),
        ("version: 1", "version: 2", 1, "version", "should be 1", "correct"),
        ("partitions: 4", "partitions: '4'", 9, "topics.market-data.partitions", "valid integer", "correct"),
        ("partitions: 4", "partitions: 0", 9, "topics.market-data.partitions", "greater than or equal", "correct"),
        ("edge: true", "edge: 1", 13, "topics.market-data.edge", "boolean", "correct"),
        ("gap: allowed", "gap: maybe", 12, "topics.market-data.gap", "'fatal' or 'allowed'", "correct"),
        ("[trade, clock]", "[trde, clock]", 6, "topics.market-data.messages[0]", "'trde' is no message", "'trade'"),
        ("[trade, clock]", "[trade, clock, trade]", 6, "topics.market-data.messages[2]", "twice", "remove one"),
        ("[clock]", "[quote]", 8, "topics.market-data.broadcast[0]", "no message of this topic", "clock, trade"),
        ("    broadcast: [clock]\n", "", 7, "topics.market-data.key", "message 'clock' has no field 'instrument'", ""),
        ("key: account", "key: acount", 20, "topics.orders.key", "message 'order' has no field 'acount'", "'account'"),
        ("key: account", "key: account/", 20, "topics.orders.key", "'account/' is no key", "name a field"),
        ("retention: 7d", "retention: 7", 22, "topics.orders.retention", "valid string", "correct"),
        ("retention: 7d", "retention: 7days", 22, "topics.orders.retention", "no retention", "7d"),
        ("retention: 7d", "retention: 0d", 22, "topics.orders.retention", "no retention", "forever"),
        ("stage: 3", "stage: 3\n    compact: true", 22, "topics.orders.retention", "lose some", "forever"),
        ("[feed]", "[fed]", 14, "topics.market-data.producers[0]", "'fed' is no role", "'feed'"),
        ("producers: [feed]", "producers: []", 14, "topics.market-data.producers", "at least 1 item", ""),
        ("inbox_of: execution", "inbox_of: account", 27, "topics.orders.inbox_of", "does not consume", "execution"),
        ("    inbox_of: strategy\n", "", 15, "topics.market-data.consumers[0]", "no topic is its inbox", "inbox_of"),
        ("stage: 3", "stage: 1", 23, "topics.orders.stage", "account reads account-events (stage 2)", "above 2"),
        ("    feedback: [execution]\n", "", 35, "topics.account-events.stage", "execution reads orders", "feedback"),
        ("feedback: [execution]", "feedback: [sink]", 41, "topics.account-events.feedback[0]", "no producer", ""),
        (
            "consumers: [execution]",
            "consumers: [execution]\n    feedback: [account]",
            29,
            "orders.feedback[0]",
            "only earlier stages",
            "remove it",
        ),
        (
            "partitions: 4\n    retention: 7d\n    stage: 2",
            "partitions: 2\n    retention: 7d\n    stage: 2",
            33,
            "account-events.partitions",
            "keyed by account with 2",
            "the same",
        ),
        (
            "stage: 2",
            "stage: 2\n    replication: 1",
            36,
            "account-events.replication",
            "exceeds replication 1",
            "at most 1",
        ),
        ("  orders:", "  Orders:", 17, "topics.Orders", "not a topic name", "lower-case"),
        ("    stage: 3\n", "    stage: 3\n    stage: 4\n", 24, "topics.orders.stage", "key stands twice", "keep one"),
        ("  orders:", "  1:", 17, "topics.1", "not text", "quotes"),
    ],
)
def test_each_mistake_is_told_with_its_line_and_mend(
    old: str, new: str, line: int, path: str, what: str, mend: str
) -> None:
    found = problems(edited(old, new))
    assert any(one.startswith(f"line {line}, ") and path in one and what in one and mend in one for one in found), found


def test_the_small_catalogue_of_the_table_is_right() -> None:
    assert list(parse_topics(SMALL).topics) == ["market-data", "orders", "account-events"]


def test_a_processor_reads_one_inbox_only() -> None:
    found = problems(edited("inbox_of: execution\n    consumers: [execution]", "consumers: [execution, account]"))
    assert any("line 27" in one and "the processor account reads this topic" in one for one in found)


def test_two_inboxes_of_one_processor_are_refused() -> None:
    found = problems(
        edited("inbox_of: execution\n    consumers: [execution]", "inbox_of: account\n    consumers: [account]")
    )
    assert any("account already has the inbox orders" in one for one in found)


def test_an_inbox_is_not_compacted() -> None:
    found = problems(edited("retention: 7d\n    stage: 3", "retention: forever\n    compact: true\n    stage: 3"))
    assert any("inbox of execution is compacted" in one for one in found)


def test_state_has_as_many_partitions_as_its_inbox() -> None:
    wrong = TEXT.replace("key: partition\n    partitions: 4", "key: partition\n    partitions: 3")
    assert any("3 partitions of state for an inbox of 4" in one for one in problems(wrong))


def test_all_mistakes_stand_in_one_report() -> None:
    text = (
        edited("partitions: 4", "partions: 4").replace("retention: 7d", "retention: soon").replace("[order]", "[ordr]")
    )
    found = problems(text)
    assert len(found) == 5
    assert [int(re.match(r"line (\d+)", one)[1]) for one in found] == sorted(
        int(re.match(r"line (\d+)", one)[1]) for one in found
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "dictionary"),
        ("version: 1", "topics: is missing"),
        ("version: 1\ntopics: {}", "at least 1 item"),
        ("version: 1\ntopics: []", "dictionary"),
        ("version: 1\ntopics:\n  a: 3", "topics.a: Input should be"),
        ("a: b: c", "not YAML"),
        ("a: [1,\nb: 2", "not YAML"),
        ("\x00", "not YAML"),
        ("a: &a [*a]", "contains itself"),
        ("a: !!python/object:os.system x", "cannot be read"),
        ("a: *nowhere", "not YAML"),
        ("<<: 3", "no mapping"),
    ],
)
def test_text_that_is_no_catalogue(text: str, what: str) -> None:
    assert any(what in one for one in problems(text)), problems(text)


def test_a_merged_mistake_is_told_where_it_is_written() -> None:
    wrong = TEXT.replace("messages: []\n    key: partition", "messages: []\n    kee: 1\n    key: partition")
    line = wrong[: wrong.index("kee: 1")].count("\n") + 1
    found = problems(wrong)
    assert [one.split(":")[0] for one in found] == [
        f"line {line}, topics.snapshots-{role}.kee" for role in ("account", "leader", "statistics", "strategy")
    ]


@given(st.text(alphabet="ab:-[]{}&*<!'\"\n #|>%@`,0", max_size=60))
def test_any_text_is_answered_by_a_report(text: str) -> None:
    with pytest.raises(CatalogueError):
        parse_topics(text)


@given(st.data())
def test_any_value_anywhere_is_answered_by_a_report_or_a_catalogue(data: st.DataObject) -> None:
    tree = yaml.safe_load(SMALL)
    spot = tree["topics"][data.draw(st.sampled_from(sorted(tree["topics"])))]
    field = data.draw(st.sampled_from(sorted(spot)))
    spot[field] = data.draw(
        st.none()
        | st.booleans()
        | st.integers(-2, 9)
        | st.sampled_from(["account", "7d", "", "execution"])
        | st.lists(st.sampled_from(["trade", "order", "sink", "account", 3]), max_size=3)
        | st.just({"a": 1})
    )
    try:
        parse_topics(yaml.safe_dump(tree))
    except CatalogueError as error:
        assert error.problems
