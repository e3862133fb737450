"""`wakeline follow`: subscriptions, one account following one leader each."""

import json
from typing import TYPE_CHECKING, Any

import click

from cli.deciding import Desk, add_move, as_text, changes_of, json_option, new_id, set_option, table, unset_option
from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, place_options

if TYPE_CHECKING:
    from schemas.accounts import SubscriptionChanged
    from streams.copying_rules import Known


@click.group(short_help="Subscriptions: list, show, add, set, pause, resume, stop, close, existing, repair.")
def follow() -> None:
    """Subscriptions: an account follows a leader, under settings of its own and inherited ones.

    What is decided here stands beside the configuration file, and survives a restart with the same file.
    """


@follow.command("list")
@click.option("--leader", help="Only followers of this leader.")
@click.option("--account", help="Only subscriptions of this account.")
@json_option
@place_options
def list_subscriptions(leader: str | None, account: str | None, as_json: bool, chosen: Chosen) -> None:
    """List the subscriptions."""
    with Desk(chosen) as desk:
        known = desk.store.known()
    found = [
        one
        for _, one in sorted(known.subscriptions.items())
        if leader in (None, one.leader) and account in (None, one.account)
    ]
    if as_json:
        click.echo(json.dumps([_about(one) for one in found]))
        return
    cells = [(one.subscription, one.account, one.leader, one.status, one.group or "-") for one in found]
    click.echo(table(cells, ("SUBSCRIPTION", "ACCOUNT", "LEADER", "STATUS", "GROUP")))


@follow.command()
@click.argument("name")
@json_option
@place_options
def show(name: str, as_json: bool, chosen: Chosen) -> None:
    """Show a subscription with every setting and the level it came from: product, leader, group, subscription."""
    from processors.copying.params import ParamsError
    from schemas.system import scopes_of
    from streams.copying_rules import resolved

    with Desk(chosen) as desk:
        known = desk.store.known()
        pauses = {pause.scope for pause in desk.store.pauses() if pause.paused}
    subscription = _one(known, name)
    try:
        found = resolved(known, subscription)
    except ParamsError as error:
        raise Failure(ExitCode.FAILURE, f"the settings contradict each other: {error}", "Change one of them") from error
    scopes = scopes_of(subscription.leader, subscription.account, name)
    about = {**_about(subscription), "paused_by_hand": [scope for scope in scopes if scope in pauses]}
    values = found.params.model_dump(mode="json")
    if as_json:
        settings = {key: {"value": value, "from": found.origins[key]} for key, value in values.items()}
        click.echo(json.dumps({**about, "settings": settings}))
        return
    click.echo("\n".join(f"{key}: {as_text(value)}" for key, value in about.items() if value not in ("", [])))
    click.echo()
    rows = [(key, found.origins[key], as_text(value)) for key, value in values.items()]
    click.echo(table(rows, ("SETTING", "FROM", "VALUE")))


@follow.command()
@click.argument("account")
@click.argument("leader")
@click.option("--name", help="Name of the subscription (default: ACCOUNT/LEADER).")
@click.option("--group", default="", help="Group whose settings it inherits.")
@click.option("--ratio", help="The same as --set ratio=.")
@click.option("--invite-code", help="Of a leader that takes followers by invitation.")
@click.option("--paused", is_flag=True, help="Begin paused.")
@set_option
@json_option
@place_options
def add(
    account: str,
    leader: str,
    name: str | None,
    group: str,
    ratio: str | None,
    invite_code: str | None,
    paused: bool,
    assignments: tuple[str, ...],
    as_json: bool,
    chosen: Chosen,
) -> None:
    """Have ACCOUNT follow LEADER: wakeline follow add alice desk --ratio 0.1 --set size.kind=mirror."""
    from schemas.accounts import SubscriptionChanged
    from streams.copying_rules import FOLLOWING

    named = name or f"{account}/{leader}"
    with Desk(chosen) as desk, desk.refusing():
        before = desk.store.known().subscriptions.get(named)
        if before is not None and before.status in FOLLOWING:
            what = f"there is a subscription {named!r} already"
            raise Failure(ExitCode.USAGE, what, "Change it by `wakeline follow set`, or give another --name")
        settings = changes_of(assignments, {})
        if ratio is not None:
            settings["ratio"] = ratio
        subscription = SubscriptionChanged(
            now_ms=desk.now_ms(),
            subscription=named,
            account=account,
            leader=leader,
            status="paused" if paused else "active",
            settings=settings,
            group=group,
        )
        taken = desk.store.put_subscription(subscription, invite_code=invite_code)
        desk.tell(taken, f"{account} follows {leader} as {named}", as_json, subscription=named)


@follow.command("set")
@click.argument("name")
@click.option("--group", help='Group whose settings it inherits; "" for none.')
@set_option
@unset_option
@json_option
@place_options
def change(
    name: str,
    group: str | None,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    as_json: bool,
    chosen: Chosen,
) -> None:
    """Change some settings of a subscription; --unset lets one be inherited again."""
    from processors.copying.params import ParamsError
    from streams.copying_rules import resolved

    if not assignments and not unset and group is None:
        raise click.UsageError("nothing to change: give --set KEY=VALUE, --unset KEY or --group")
    with Desk(chosen) as desk, desk.refusing():
        known = desk.store.known()
        before = _one(known, name)
        try:
            inherited = resolved(known, before).params.model_dump(mode="json")
        except ParamsError:  # to be mended by this very change
            inherited = {}
        changes = changes_of(assignments, before.settings, inherited)
        fields = {} if group is None else {"group": group}
        _known_keys(unset)
        taken = desk.store.edit("subscription", name, changes, desk.now_ms(), unset, **fields)
        desk.tell(taken, f"subscription {name} changed", as_json, subscription=name)


for _event, _done, _words in (
    ("pause", "paused", "Pause a subscription: it opens nothing and keeps and protects what it has."),
    ("resume", "resumed", "Let a paused subscription go on with the leader's next event."),
    ("stop", "stopped", "Stop a subscription: close all of its positions and follow nothing more."),
    ("close", "closed", "End a subscription and leave its positions to their stop-loss and take-profit."),
):
    add_move(follow, "subscription", _event, _done, _words)


@follow.command()
@click.argument("name")
@click.option("--accept", "answer", flag_value="copy_existing", help="Copy what the leader held before.")
@click.option("--ignore", "answer", flag_value="ignore_existing", help="Leave it alone.")
@json_option
@place_options
def existing(name: str, answer: str | None, as_json: bool, chosen: Chosen) -> None:
    """Answer for the positions that the leader held before the subscription (copy_existing: ask)."""
    if answer is None:
        raise click.UsageError("give --accept or --ignore")
    words = "copies what the leader held before" if answer == "copy_existing" else "leaves it alone"
    _command(name, answer, f"subscription {name} {words}", as_json, chosen)


@follow.command()
@click.argument("name")
@json_option
@place_options
def repair(name: str, as_json: bool, chosen: Chosen) -> None:
    """Bring a subscription to its expected positions now, within its caps."""
    _command(name, "repair", f"repair of subscription {name} asked for", as_json, chosen)


def _command(name: str, action: Any, text: str, as_json: bool, chosen: Chosen) -> None:
    from schemas.accounts import Command

    with Desk(chosen) as desk, desk.refusing():
        subscription = _one(desk.store.known(), name)
        command = Command(
            now_ms=desk.now_ms(), command_id=new_id(), account=subscription.account, action=action, subject=name
        )
        desk.tell(desk.store.command(command), text, as_json, subscription=name)


def _one(known: "Known", name: str) -> "SubscriptionChanged":
    from streams.problems import nearest

    found = known.subscriptions.get(name)
    if found is None:
        hint = nearest(name, known.subscriptions, "subscriptions are")
        raise Failure(ExitCode.USAGE, f"no subscription {name!r}{hint}")
    return found


def _known_keys(names: tuple[str, ...]) -> None:
    from processors.copying.params import SubscriptionParams
    from streams.problems import nearest

    for name in names:
        if name not in SubscriptionParams.model_fields:
            raise Failure(
                ExitCode.USAGE, f"--unset {name}: unknown key{nearest(name, SubscriptionParams.model_fields)}"
            )


def _about(one: "SubscriptionChanged") -> dict[str, Any]:
    return {
        "subscription": one.subscription,
        "account": one.account,
        "leader": one.leader,
        "status": one.status,
        "group": one.group,
    }
