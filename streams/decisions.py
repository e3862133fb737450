"""What people decide, by file, command, webhook or API, put on the log exactly once (design laws 2 and 5).

Entry points: `DecisionStore`: `decide(settings, ...)` for the file; `put_*`, `edit`, `move`, `command`, `transfer`,
`pause`, `leader_trade` for everybody else; `known`, `rows`, `sent`. `DecisionError` says what is wrong and where.

1. A number is given in the transaction that changes the decision, so a crash loses and doubles nothing.
2. `decided` keeps what holds (`value`) beside what the file last asked (`asked`, none for what a command made). Only
   what the file changed since then acts, field by field: a pause by command survives a restart with the same file.
3. A subscription that left the file is closed, a leader (but a strategy) is paused; an account or group that left keeps
   its last settings (its positions are real). What a command made is never closed by the file. Closing a leader is
   final, and its kind and source never change: other than that it is another leader.
4. Every rule of streams/copying_rules.py is asked in the transaction that writes, before anything is written.
5. A request id makes a repeat harmless: same content, same answer; other content is refused.
6. The generation rises with `renew_generation`, when the store is restored from a backup.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa

from processors.inbox import partition_of
from schemas.accounts import Command, GroupChanged, InstrumentChanged, SubscriptionChanged, Transfer
from schemas.base import Message
from schemas.codec import decode, encode
from schemas.ids import derive_id
from schemas.leaders import LeaderChanged, LeaderTrade, PauseRequest
from schemas.topics import Catalogue
from streams.copying_rules import (
    FOLLOWING,
    LEADER_MOVES,
    SUBSCRIPTION_MOVES,
    Known,
    LeaderSection,
    group_problems,
    leader_problems,
    part,
    subscription_problems,
)
from streams.copying_settings import decisions
from streams.decision_tables import ACCOUNTS, Outbox, decided, meta, open_engine, outbox, prepare, requests, writing
from streams.outbox import OutboxRow
from streams.problems import Problem, nearest, validated
from streams.settings import Settings

log = logging.getLogger(__name__)

LEADERS: Final = "leader-events"
Why = Literal["wrong", "unknown", "closed", "conflict"]
Thing = Literal["leader", "group", "subscription"]
_MOVES: Final = {"leader": LEADER_MOVES, "subscription": SUBSCRIPTION_MOVES}
_ABSENT: Final = object()


class DecisionError(ValueError):
    """A decision cannot be taken; nothing was written. `field` names the first thing that is wrong."""

    def __init__(self, problems: Sequence[Problem], why: Why = "wrong") -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems, self.why = list(problems), why
        self.field, self.text = problems[0]


class Taken(NamedTuple):
    """A decision that stands. `number`: of its last record (None: nothing was to change, or it was sent long ago)."""

    number: int | None
    status: Literal["new", "exists", "unchanged"]


@dataclasses.dataclass
class _Write:
    """One writing transaction."""

    tx: sa.Connection
    outbox: Outbox


class DecisionStore:
    """Decisions and their outbox in SQL; any number of processes may write. `partitions`: of the topics written to."""

    source = "outbox"

    def __init__(self, dsn: str, partitions: Mapping[str, int]) -> None:
        self._partitions = {topic: partitions[topic] for topic in (ACCOUNTS, LEADERS)}
        self._engine = open_engine(dsn)
        prepare(self._engine)

    # -- the file
    def decide(self, settings: Settings, instruments: Sequence[InstrumentChanged], now_ms: int) -> int:
        """Record what `settings` and the feed's `instruments` change; return how many records that makes."""
        asked = _asked(settings, instruments, now_ms)
        count = 0
        with writing(self._engine) as tx:
            write = _Write(tx, Outbox(tx))
            write.outbox.forget()
            _stamp_early(tx, now_ms)
            held = {row.name: row for row in tx.execute(sa.select(decided))}
            for name, (told, message) in asked.items():
                count += self._ask(write, name, message, held.get(name), told)
            for name in held.keys() - asked.keys():
                if held[name].asked is not None:
                    count += self._left(write, name, decode(held[name].value), now_ms)
            write.outbox.flush()
        return count

    def _ask(self, write: _Write, name: str, message: Any, row: Any, told: bool) -> int:
        """Let the file's wish act where it changed; 1 if that makes a record."""
        if row is None:
            self._keep(write.tx, name, message, asked=message)
            return self._tell(write, message) if told else 0
        if row.asked is not None and _logical(decode(row.asked)) == _logical(message):
            return 0
        held = decode(row.value)
        value = message if row.asked is None else _merged(decode(row.asked), message, held)
        if isinstance(held, LeaderChanged):
            if problems := _other_leader(held, value):
                raise DecisionError(problems)
            if held.status == "closed" and _logical(value) != _logical(held):
                log.warning("leader %s is closed, which is final: what the file says of it does nothing", held.leader)
                value = held
        changed = _logical(value) != _logical(held)
        self._keep(write.tx, name, value if changed else held, asked=message)
        return self._tell(write, value) if changed else 0

    def _left(self, write: _Write, name: str, held: Any, now_ms: int) -> int:
        status = None
        if isinstance(held, SubscriptionChanged) and held.status != "closed":
            status = "closed"
        if isinstance(held, LeaderChanged) and held.kind != "strategy" and held.status == "active":
            status = "paused"
        value = held if status is None else _replaced(held, status=status, now_ms=now_ms)
        self._keep(write.tx, name, value, asked=None)
        return 0 if status is None else self._tell(write, value)

    # -- people and programs
    def known(self) -> Known:
        """Return the leaders, groups, accounts and subscriptions that hold."""
        with self._engine.connect() as tx:
            return _known(tx)

    def leader(self, name: str) -> LeaderChanged | None:
        """Return the leader of this name."""
        with self._engine.connect() as tx:
            row = tx.execute(sa.select(decided.c.value).where(decided.c.name == f"leader/{name}")).first()
            return None if row is None else decode(row.value)

    def pauses(self) -> list[PauseRequest]:
        """Return the last pause or resumption of each scope."""
        with self._engine.connect() as tx:
            query = sa.select(decided.c.value).where(decided.c.name.startswith("pause/")).order_by(decided.c.name)
            return [decode(value) for (value,) in tx.execute(query)]

    def put_leader(self, leader: LeaderChanged, request_id: str = "") -> Taken:
        """Make a leader, or change it.

        Raises:
            DecisionError: a setting is wrong, its source is unknown, or somebody would follow himself.
        """

        def check(known: Known, before: Any) -> list[Problem]:
            if leader.kind == "strategy" and (before is None or before.kind != "strategy"):
                names = [n for n, one in known.leaders.items() if one.kind == "strategy" and n != leader.leader]
                hint = nearest(leader.leader, names, "strategies are")
                return [Problem("name", f"no strategy {leader.leader!r} in the configuration{hint}")]
            return _other_leader(before, leader) + _closed(before) or leader_problems(known, leader)

        return self._put("leader", leader.leader, lambda _: leader, check, request_id)

    def put_group(self, group: GroupChanged, request_id: str = "") -> Taken:
        """Make a group, or change it.

        Raises:
            DecisionError: a setting is wrong.
        """
        return self._put("group", group.group, lambda _: group, lambda *_: group_problems(group), request_id)

    def put_subscription(
        self, subscription: SubscriptionChanged, *, invite_code: str | None = None, request_id: str = ""
    ) -> Taken:
        """Make a subscription, or change it.

        Raises:
            DecisionError: unknown leader, account or group; own leader, circle, full, closed, too little invested, not
                invited; a setting that is wrong, contradicts another, or needs what the leader does not tell.
        """

        def check(known: Known, before: Any) -> list[Problem]:
            stays = before is not None and before.status in FOLLOWING and before.leader == subscription.leader
            return subscription_problems(known, subscription, joins=not stays, invite_code=invite_code)

        return self._put("subscription", subscription.subscription, lambda _: subscription, check, request_id)

    def edit(
        self,
        thing: Thing,
        name: str,
        changes: Mapping[str, Any],
        now_ms: int,
        unset: Sequence[str] = (),
        request_id: str = "",
        **fields: Any,
    ) -> Taken:
        """Change some settings of what is there (`unset`: inherited from now on), and other `fields` of its message.

        Raises:
            DecisionError: there is none of that name, or the result is wrong (see `put_*`).
        """

        def change(before: Any) -> Any:
            settings = {key: value for key, value in before.settings.items() if key not in unset} | dict(changes)
            return _replaced(before, settings=settings, now_ms=now_ms, **fields)

        def check(known: Known, before: Any) -> list[Problem]:
            if isinstance(before, LeaderChanged):
                after = known.leaders[name]
                return _other_leader(before, after) + _closed(before) or leader_problems(known, after)
            if isinstance(before, SubscriptionChanged):
                mine = known.subscriptions[name]
                return subscription_problems(known, mine, joins=mine.leader != before.leader)
            return group_problems(known.groups[name])

        return self._put(thing, name, change, check, request_id, must_be=True)

    def move(self, thing: Literal["leader", "subscription"], name: str, event: str, now_ms: int) -> Taken:
        """Pause, resume, stop or close.

        Raises:
            DecisionError: there is none of that name, or it cannot do that any more.
        """

        def change(before: Any) -> Any:
            moves = _MOVES[thing]
            status = moves[before.status].get(event)
            if status is None and before.status in {
                after for of in moves.values() for e, after in of.items() if e == event
            }:
                status = before.status  # it is so already
            if status is None:
                text = f"{thing} {name!r} is {before.status} and cannot {event}"
                more = "; follow anew by `wakeline follow add`" if thing == "subscription" else ""
                raise DecisionError([Problem("status", text + more)], "closed")
            return _replaced(before, status=status, now_ms=now_ms)

        return self._put(thing, name, change, lambda *_: [], must_be=True)

    def command(self, command: Command) -> Taken:
        """Hand a command to the account role; a repeat of its command_id is answered `exists`.

        Raises:
            DecisionError: unknown account or subscription.
        """

        def check(known: Known) -> list[Problem]:
            if command.action in ("copy_existing", "ignore_existing", "repair"):
                return _must_know("subject", "subscription", command.subject, known.subscriptions)
            if command.account == "*" and command.action != "resolve":
                return []
            return _must_know("account", "account", command.account, known.accounts)

        return self._say(command, f"command/{command.command_id}", check)

    def transfer(self, transfer: Transfer) -> Taken:
        """Pay money in or out; a repeat of its transfer_id is answered `exists`.

        Raises:
            DecisionError: unknown account, or no amount.
        """

        def check(known: Known) -> list[Problem]:
            if not transfer.amount.is_finite() or transfer.amount == 0 or abs(transfer.amount) >= Decimal(10) ** 18:
                return [Problem("amount", f"must be a finite number other than zero, not {transfer.amount}")]
            return _must_know("account", "account", transfer.account, known.accounts)

        return self._say(transfer, f"transfer/{transfer.transfer_id}", check)

    def pause(self, request: PauseRequest) -> Taken:
        """Pause or resume a scope at once; it is always told, also where it is so already.

        Raises:
            DecisionError: a scope that is none, or of something unknown.
        """

        def check(known: Known) -> list[Problem]:
            if request.scope == "*":
                return []
            kind, colon, name = request.scope.partition(":")
            things: dict[str, Mapping[str, Any]] = {
                "leader": known.leaders,
                "account": known.accounts,
                "subscription": known.subscriptions,
            }
            if not colon or kind not in things:
                text = f"must be all, leader:NAME, account:NAME or subscription:NAME, not {request.scope!r}"
                return [Problem("scope", text)]
            return _must_know("scope", kind, name, things[kind])

        return self._say(request, f"pause/{request.command_id}", check, keep=f"pause/{request.scope}")

    def leader_trade(self, trade: LeaderTrade) -> Taken:
        """Take a trade of an external feed; a repeat of its trade_id with the same content is answered `exists`.

        Raises:
            DecisionError: unknown or closed leader, one that is no feed, a trade_id used for another trade.
        """
        with writing(self._engine) as tx:
            row = tx.execute(sa.select(decided.c.value).where(decided.c.name == f"leader/{trade.leader}")).first()
            leader = None if row is None else decode(row.value)
            if leader is None or leader.kind != "feed":
                raise DecisionError([Problem("leader", f"no leader {trade.leader!r} of kind feed")], "unknown")
            if leader.status == "closed":
                raise DecisionError([Problem("leader", f"{trade.leader!r} is closed")], "closed")
            return self._once(tx, f"trade/{trade.leader}/{trade.trade_id}", trade, "id", lambda: trade)

    # -- the relay
    def rows(self, limit: int = 500) -> list[OutboxRow]:
        """Return the rows not yet sent, in order."""
        with self._engine.connect() as tx:
            query = sa.select(outbox).where(~outbox.c.sent).order_by(outbox.c.number).limit(limit)
            return [
                OutboxRow(
                    row.generation,
                    row.number,
                    None if row.previous is None else (row.generation, row.previous),
                    row.topic,
                    row.partition,
                    row.key.encode(),
                    row.value,
                )
                for row in tx.execute(query)
            ]

    def sent(self, number: int) -> None:
        """Mark every row up to `number` as sent."""
        with writing(self._engine) as tx:
            tx.execute(outbox.update().where(outbox.c.number <= number, ~outbox.c.sent).values(sent=True))

    def is_sent(self, number: int) -> bool:
        """Return whether the row of this number reached the broker (rows sent long ago are gone)."""
        with self._engine.connect() as tx:
            row = tx.execute(sa.select(outbox.c.sent).where(outbox.c.number == number)).first()
            return row is None or bool(row.sent)

    def renew_generation(self) -> int:
        """Start a new generation (after a restore from a backup) and return it; chains begin anew."""
        with writing(self._engine) as tx:
            generation = tx.execute(sa.select(sa.func.max(meta.c.generation))).scalar_one() + 1
            tx.execute(meta.update().values(generation=generation))
        return int(generation)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    # -- inside a transaction
    def _put(
        self,
        thing: str,
        name: str,
        change: Callable[[Any], Any],
        check: Callable[[Known, Any], list[Problem]],
        request_id: str = "",
        must_be: bool = False,
    ) -> Taken:
        with writing(self._engine) as tx:
            row = tx.execute(sa.select(decided).where(decided.c.name == f"{thing}/{name}")).first()
            before = None if row is None else decode(row.value)
            if must_be and before is None:
                names = [
                    n.partition("/")[2] for (n,) in tx.execute(sa.select(decided.c.name)) if n.startswith(f"{thing}/")
                ]
                text = f"no {thing} {name!r}{nearest(name, names, f'{thing}s are')}"
                raise DecisionError([Problem("name", text)], "unknown")

            def make() -> Message | None:
                message = _normal(change(before))
                known = _known(tx)
                known.add(message)
                if problems := check(known, before):
                    raise DecisionError(problems)
                if before is not None and _logical(before) == _logical(message):
                    return None
                asked = None if row is None or row.asked is None else decode(row.asked)
                self._keep(tx, f"{thing}/{name}", message, asked)
                return message

            content = None if request_id == "" else _normal(change(before))
            return self._once(tx, f"request/{request_id}" if request_id else "", content, "request_id", make)

    def _say(
        self, message: Message, request: str, check: Callable[[Known], list[Problem]], keep: str | None = None
    ) -> Taken:
        with writing(self._engine) as tx:
            if problems := check(_known(tx)):
                raise DecisionError(problems, "unknown")

            def make() -> Message:
                if keep is not None:
                    self._keep(tx, keep, message, asked=None)
                return message

            return self._once(tx, request, message, "command_id", make)

    def _once(
        self, tx: sa.Connection, request: str, content: Any, field: str, make: Callable[[], Message | None]
    ) -> Taken:
        """Make a record unless the request was answered before."""
        digest = "" if content is None else _logical(content)
        if request:
            done = tx.execute(sa.select(requests).where(requests.c.request == request)).first()
            if done is not None and done.content == digest:
                return Taken(done.number, "exists")
            if done is not None:
                text = f"{request.rpartition('/')[2]!r} was used before, with other content"
                raise DecisionError([Problem(field, text)], "conflict")
        message = make()
        if message is None:
            return Taken(None, "unchanged")
        write = _Write(tx, Outbox(tx))
        self._tell(write, message)
        write.outbox.flush()
        if request:
            tx.execute(requests.insert().values(request=request, content=digest, number=write.outbox.last))
        return Taken(write.outbox.last, "new")

    @staticmethod
    def _keep(tx: sa.Connection, name: str, value: Message, asked: Message | None) -> None:
        tx.execute(decided.delete().where(decided.c.name == name))
        wish = None if asked is None else encode(asked)
        tx.execute(decided.insert().values(name=name, value=encode(value), asked=wish))

    def _tell(self, write: _Write, message: Message) -> int:
        topic, key, everywhere = _route(message)
        count = self._partitions[topic]
        for partition in range(count) if everywhere else (partition_of(key.encode(), count),):
            write.outbox.add(topic, partition, key, encode(_public(message)))
        return 1


def _public(message: Message) -> Message:
    """Return a decision as everybody may read it on the log: of an invitation's code only a hash."""
    if not isinstance(message, LeaderChanged) or not message.settings.get("invite_code"):
        return message
    code = derive_id("invite-code", message.leader, message.settings["invite_code"])
    changed: Message = _replaced(message, settings={**message.settings, "invite_code": code})
    return changed


def _route(message: Any) -> tuple[str, str, bool]:
    """Return (topic, key, whether it stands in every partition) of a decision."""
    if isinstance(message, LeaderChanged | LeaderTrade | PauseRequest):
        return LEADERS, message.leader, False
    if isinstance(message, InstrumentChanged):
        return ACCOUNTS, message.instrument, True
    if isinstance(message, GroupChanged):
        return ACCOUNTS, message.group, True
    return ACCOUNTS, message.account, message.account == "*"


def _asked(
    settings: Settings, instruments: Sequence[InstrumentChanged], now_ms: int
) -> dict[str, tuple[bool, Message]]:
    """Everything the file asks for by name, and whether it is told at first sight; instruments come first.

    A strategy that is not listed under `leaders` is known as a leader, and told of only when somebody changes it.
    """
    asked: dict[str, tuple[bool, Message]] = {}
    configured = [InstrumentChanged(now_ms=now_ms, **instrument.model_dump()) for instrument in settings.instruments]
    for rules in [*instruments, *configured]:  # the configuration wins over the feed's own description
        asked[f"instrument/{rules.instrument}"] = (True, _replaced(rules, now_ms=now_ms))
    for path, message in decisions(settings, now_ms):
        for thing in ("subscription", "group", "leader", "account"):  # a subscription also names the other two
            if (name := getattr(message, thing, None)) is not None:
                asked[f"{thing}/{name}"] = (path != "", decode(encode(message)))
                break
    return asked


def _known(tx: sa.Connection) -> Known:
    names = sa.or_(
        *(decided.c.name.startswith(f"{thing}/") for thing in ("leader", "group", "account", "subscription"))
    )
    return Known(decode(value) for (value,) in tx.execute(sa.select(decided.c.value).where(names)))


def _stamp_early(tx: sa.Connection, now_ms: int) -> None:
    """Give what was decided before this data folder had a time the time of now (see `decision_time`)."""
    for row in tx.execute(sa.select(outbox.c.number, outbox.c.value).where(~outbox.c.sent)).all():
        message = decode(row.value)
        if message.now_ms == 0:
            value = encode(_replaced(message, now_ms=now_ms))
            tx.execute(outbox.update().where(outbox.c.number == row.number).values(value=value))


def _other_leader(before: LeaderChanged | None, after: LeaderChanged) -> list[Problem]:
    """What would make a leader another one; its followers did not choose that."""
    mend = "make another leader under a name of its own"
    if before is not None and before.kind != after.kind:
        return [
            Problem("kind", f"{after.leader!r} is a leader of kind {before.kind} already, which cannot change; {mend}")
        ]
    if before is not None and before.source != after.source:
        return [Problem("source", f"{after.leader!r} is led by account {before.source!r}, which cannot change; {mend}")]
    return []


def _closed(before: LeaderChanged | None) -> list[Problem]:
    if before is None or before.status != "closed":
        return []
    return [Problem("status", f"{before.leader!r} is closed, which is final; make another leader")]


def _must_know(field: str, kind: str, name: str, names: Mapping[str, Any]) -> list[Problem]:
    return [] if name in names else [Problem(field, f"no {kind} {name!r}{nearest(name, names, f'{kind}s are')}")]


def _merged(before: Any, asked: Any, held: Any) -> Any:
    """Return what holds, with the fields (and single settings) that the file changed since `before`."""
    changes: dict[str, Any] = {"now_ms": asked.now_ms}
    for field in asked.__struct_fields__:
        old, new = getattr(before, field), getattr(asked, field)
        if old == new or field == "now_ms":
            continue
        if isinstance(new, dict):
            current = dict(getattr(held, field))
            for key in old.keys() | new.keys():
                if old.get(key, _ABSENT) != new.get(key, _ABSENT):
                    current.pop(key, None)
                    if key in new:
                        current[key] = new[key]
            new = current
        changes[field] = new
    return _replaced(held, **changes)


def _normal(message: Any) -> Any:
    """Return a decision with its settings in their JSON form, as it will be read back."""
    if isinstance(message, LeaderChanged):
        params, problems = validated(LeaderSection, message.settings, "settings")
        if params is None:
            raise DecisionError(problems)
        message = _replaced(message, settings=params.model_dump(mode="json"))
    elif isinstance(message, GroupChanged | SubscriptionChanged):
        settings, problems = part(message.settings, "settings")
        if problems:
            raise DecisionError(problems)
        if isinstance(message, SubscriptionChanged) and message.ratio is not None and "ratio" not in settings:
            settings["ratio"] = str(message.ratio)  # one place for it
            message = _replaced(message, ratio=None)
        message = _replaced(message, settings=settings)
    return decode(encode(message))


def _logical(message: Any) -> str:
    """Hash of a decision without its times: what makes two decisions the same."""
    changes: dict[str, Any] = {"now_ms": 0}
    if isinstance(message, LeaderTrade):
        changes["detected_ms"] = 0
    plain = decode(encode(_replaced(message, **changes)))
    return derive_id("decision", repr(_sorted(plain)))


def _sorted(message: Any) -> list[tuple[str, Any]]:
    """Fields by name, mappings inside sorted, so that no order of keys makes a difference."""

    def flat(value: Any) -> Any:
        if isinstance(value, dict):
            return sorted((key, flat(item)) for key, item in value.items())
        return [flat(item) for item in value] if isinstance(value, list | tuple) else value

    return [(name, flat(getattr(message, name))) for name in ("__class__", *message.__struct_fields__)]


def _replaced(message: Any, **changes: Any) -> Any:
    return type(message)(**{name: getattr(message, name) for name in message.__struct_fields__} | changes)


def pause_request(scope: str, paused: bool, reason: str, command_id: str, now_ms: int) -> PauseRequest:
    """Return the request to pause or resume `scope` ("*", leader:NAME, account:NAME, subscription:NAME)."""
    kind, _, name = scope.partition(":")
    return PauseRequest(
        now_ms=now_ms,
        command_id=command_id,
        leader=name if kind == "leader" and name else "*",
        scope=scope,
        paused=paused,
        reason=reason,
    )


def open_decisions(settings: Settings, catalogue: Catalogue) -> DecisionStore:
    """Return the store under the data folder, or beside the execution store when that is a server."""
    dsn = settings.execution.store
    if dsn is None or dsn.startswith("sqlite"):
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        dsn = f"sqlite:///{settings.data_dir / 'decisions.db'}"
    return DecisionStore(dsn, {name: topic.partitions for name, topic in catalogue.topics.items()})
