"""`wakeline outcomes`: what each leader event became for each follower, and why."""

import json

import click

from cli.deciding import json_option, table
from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, place_options

_STATES = ("pending", "copied", "reduced", "skipped", "failed")
_COLUMNS = (
    "log_time, leader, sequence, subscription, instrument, state, reason, outcome_id, event_id, order_id, numbers"
)


@click.group(short_help="Outcomes of copying: list, explain.")
def outcomes() -> None:
    """Outcomes: one for each leader event and each subscription, read from ClickHouse."""


@outcomes.command("list")
@click.option("--leader", help="Only of this leader.")
@click.option("--subscription", help="Only of this subscription.")
@click.option("--state", type=click.Choice(_STATES), help="Only in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, latest first.")
@json_option
@place_options
def list_outcomes(
    leader: str | None, subscription: str | None, state: str | None, limit: int, as_json: bool, chosen: Chosen
) -> None:
    """List the latest outcomes; `pending` only while nothing final is known."""
    from cli.ledger import Ledger, quoted

    wanted = [
        f"{column} = {quoted(value)}"
        for column, value in (("leader", leader), ("subscription", subscription))
        if value is not None
    ]
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    latest = (
        f"SELECT {_COLUMNS} FROM outcomes {where} "
        "ORDER BY log_time DESC, sequence DESC, state = 'pending', subscription LIMIT 1 BY event_id, subscription"
    )
    only = "" if state is None else f"WHERE state = {quoted(state)}"
    rows = Ledger(chosen).rows(
        f"SELECT * FROM ({latest}) {only} ORDER BY log_time DESC, sequence DESC, subscription LIMIT {limit}"
    )
    if as_json:
        click.echo(json.dumps(rows))
        return
    names = ("log_time", "leader", "sequence", "subscription", "instrument", "state", "reason", "outcome_id")
    titles = ("TIME", "LEADER", "EVENT", "SUBSCRIPTION", "INSTRUMENT", "STATE", "REASON", "OUTCOME")
    click.echo(table([[row[name] or "-" for name in names] for row in rows], titles))


@outcomes.command()
@click.argument("identity", metavar="ID")
@click.option("--subscription", help="Which one, where ID is a leader event with several followers.")
@json_option
@place_options
def explain(identity: str, subscription: str | None, as_json: bool, chosen: Chosen) -> None:
    """Tell in words why a copy was made, cut or skipped: ID of an outcome, a leader event, or an order."""
    from cli.explain import explain as in_words
    from cli.ledger import Ledger, event_of, outcome_of, quoted

    ledger, wanted = Ledger(chosen), quoted(identity)
    where = f"(outcome_id = {wanted} OR event_id = {wanted} OR order_id = {wanted})"
    if subscription is not None:
        where += f" AND subscription = {quoted(subscription)}"
    rows = ledger.rows(
        f"SELECT * FROM outcomes WHERE {where} ORDER BY state = 'pending', log_time DESC, subscription "
        "LIMIT 1 BY event_id, subscription LIMIT 21"
    )
    if not rows:
        of = "" if subscription is None else f" of subscription {subscription!r}"
        what = f"no outcome{of} has this id, nor a leader event or an order of one: {identity}"
        raise Failure(ExitCode.FAILURE, what, "See `wakeline outcomes list`; rows take about a second to arrive")
    if len(rows) > 1:
        names = ", ".join(row["subscription"] for row in rows[:20]) + (", ..." if len(rows) > 20 else "")
        raise Failure(ExitCode.USAGE, f"{len(rows)} followers or more have it: {names}", "Choose by --subscription")
    outcome = outcome_of(rows[0])
    try:
        events = ledger.rows(f"SELECT * FROM leader_events WHERE event_id = {quoted(outcome.event_id)} LIMIT 1")
    except Failure:  # stored by a build that knew no such table
        events = []
    lines = in_words(outcome, event_of(events[0]) if events else None)
    if as_json:
        click.echo(json.dumps({"outcome": rows[0], "event": events[0] if events else None, "explanation": lines}))
        return
    click.echo("\n".join(lines))
