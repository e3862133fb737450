"""`wakeline halts`: trade errors that halted a subscription, and their end."""

import json

import click

from cli.deciding import Desk, json_option, new_id, table
from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, place_options

_HALTS = """
SELECT error_id, if(countIf(state = 'resolved') > 0, 'resolved', 'open') AS now, any(kind) AS error,
  any(account) AS of_account, any(subscription) AS of_subscription, any(leader) AS of_leader,
  any(instrument) AS in_instrument, any(order_id) AS of_order, any(event_id) AS of_event,
  argMin(message, log_time) AS words, argMin(numbers, log_time) AS told, min(log_time) AS opened
FROM trade_errors GROUP BY error_id
"""


@click.group(short_help="Halts of subscriptions: list, show, resolve.")
def halts() -> None:
    """Halts: a follower's order failed, and its subscription opens nothing until the last open error is resolved."""


@halts.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that were resolved.")
@click.option("--subscription", help="Only of this subscription.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, latest first.")
@json_option
@place_options
def list_halts(everything: bool, subscription: str | None, limit: int, as_json: bool, chosen: Chosen) -> None:
    """List the open trade errors, latest first."""
    from cli.ledger import Ledger, quoted

    wanted = [] if everything else ["now = 'open'"]
    if subscription is not None:
        wanted.append(f"of_subscription = {quoted(subscription)}")
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    rows = Ledger(chosen).rows(f"SELECT * FROM ({_HALTS}) {where} ORDER BY opened DESC, error_id LIMIT {limit}")
    if as_json:
        click.echo(json.dumps([_told(row) for row in rows]))
        return
    names = ("opened", "now", "of_subscription", "in_instrument", "error", "words", "error_id")
    titles = ("OPENED", "STATE", "SUBSCRIPTION", "INSTRUMENT", "ERROR", "MESSAGE", "ID")
    click.echo(table([[row[name] for name in names] for row in rows], titles))


@halts.command()
@click.argument("error_id", metavar="ID")
@json_option
@place_options
def show(error_id: str, as_json: bool, chosen: Chosen) -> None:
    """Show one trade error with the venue's words and its numbers."""
    halt = _one(error_id, chosen)
    if as_json:
        click.echo(json.dumps(halt))
        return
    click.echo("\n".join(f"{name}: {value}" for name, value in halt.items() if value not in ("", {})))


@halts.command()
@click.argument("error_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--account", help="Account of the errors, where ClickHouse cannot be asked for it.")
@click.option("--reason", default="", help="What was done about it.")
@json_option
@place_options
def resolve(error_ids: tuple[str, ...], account: str | None, reason: str, as_json: bool, chosen: Chosen) -> None:
    """Resolve trade errors: copying goes on by itself with the last open one of a subscription."""
    from schemas.accounts import Command

    accounts = {one: account or str(_one(one, chosen)["account"]) for one in error_ids}
    with Desk(chosen) as desk, desk.refusing():
        for error_id, owner in accounts.items():
            command = Command(
                now_ms=desk.now_ms(),
                command_id=new_id(),
                account=owner,
                action="resolve",
                subject=error_id,
                reason=reason,
            )
            taken = desk.store.command(command)
            desk.tell(taken, f"error {error_id} resolved", as_json, error=error_id, account=owner)


def _one(error_id: str, chosen: Chosen) -> dict[str, object]:
    from cli.ledger import Ledger, quoted

    rows = Ledger(chosen).rows(f"SELECT * FROM ({_HALTS}) WHERE error_id = {quoted(error_id)}")
    if not rows:
        what = f"no trade error {error_id!r} is stored"
        raise Failure(ExitCode.FAILURE, what, "See `wakeline halts list --all`, or name its account by --account")
    return _told(rows[0])


def _told(row: dict[str, object]) -> dict[str, object]:
    """Return a row under the names of TradeError."""
    names = {
        "now": "state",
        "error": "kind",
        "words": "message",
        "told": "numbers",
        "opened": "opened",
        "error_id": "error_id",
    }
    return {names.get(name, name.partition("_")[2]): value for name, value in row.items()}
