"""`wakeline pause` and `wakeline deposit`: emergency pauses, and money paid into an account."""

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from cli.deciding import Desk, json_option, new_id
from cli.options import Chosen, place_options


@click.command(short_help="Pause everything, a leader, an account or a subscription at once.")
@click.argument("scope")
@click.option("--resume", is_flag=True, help="Lift the pause of this scope.")
@click.option("--reason", default="", help="Told with every copy that is skipped for it.")
@json_option
@place_options
def pause(scope: str, resume: bool, reason: str, as_json: bool, chosen: Chosen) -> None:
    """Pause SCOPE at once: all, leader:NAME, account:NAME or subscription:NAME.

    Entries are neither made nor sent until --resume; exits and protection go on. Scopes are lifted one by one:
    `all --resume` does not lift leader:NAME.
    """
    from streams.decisions import pause_request

    with Desk(chosen) as desk, desk.refusing():
        asked = "*" if scope == "all" else scope
        request = pause_request(asked, not resume, reason, new_id(), desk.now_ms())
        taken = desk.store.pause(request)
        desk.tell(taken, f"{'resumed' if resume else 'paused'} {scope}", as_json, scope=asked, paused=not resume)


class Amount(click.ParamType):
    """A finite number other than zero."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return the number."""
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not number.is_finite() or number == 0:
            self.fail(f"must be a finite number other than zero, not {value}", param, ctx)
        return number


@click.command(short_help="Pay money into an account, or out of it.", context_settings={"ignore_unknown_options": True})
@click.argument("account")
@click.argument("amount", type=Amount())
@click.option("--id", "transfer_id", help="A transfer of the same id counts once.")
@json_option
@place_options
def deposit(account: str, amount: Decimal, transfer_id: str | None, as_json: bool, chosen: Chosen) -> None:
    """Pay AMOUNT into ACCOUNT, in its currency; an amount below zero is paid out."""
    from schemas.accounts import Transfer

    with Desk(chosen) as desk, desk.refusing():
        transfer = Transfer(now_ms=desk.now_ms(), transfer_id=transfer_id or new_id(), account=account, amount=amount)
        words = "paid into" if amount > 0 else "paid out of"
        taken = desk.store.transfer(transfer)
        desk.tell(taken, f"{abs(amount):f} {words} {account}", as_json, account=account, transfer=transfer.transfer_id)
