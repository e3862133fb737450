"""The venue's netted position against ours: the sum of the positions of an account's subscriptions.

Entry point: `compare`.

A VenuePosition stands in the inbox behind every fill that is in it, so a difference is real: a trade made at the venue
by hand, a fill lost, or a position adopted from before. It is told once for as long as it stays the same.
"""

from processors.account import telling
from processors.account.money import ZERO
from processors.account.state import State
from processors.protocols import Out
from schemas.codec import BadRecord
from schemas.status import VenuePosition


def compare(state: State, event: VenuePosition, now_ms: int) -> list[Out]:
    """Alarm a difference between the venue's position and the sum of ours.

    Raises:
        BadRecord: a size that is no number; nothing was changed.
    """
    if not event.size.is_finite():
        raise BadRecord(f"venue position of {event.account}: size {event.size} is no number")
    account = state.ledger.accounts.get(event.account)
    if account is None:
        text = (
            f"{event.venue} tells {event.size} {event.instrument} of account {event.account}, which is not known here"
        )
        return [telling.alert("", "position_of_unknown_account", "warning", text, now_ms)]
    own = sum(
        (account.holdings[key].size for key in account.open if account.holdings[key].instrument == event.instrument),
        ZERO,
    )
    difference = event.size - own
    if difference == account.venue_differs.get(event.instrument, ZERO):
        return []
    if difference == ZERO:
        del account.venue_differs[event.instrument]
        text = f"{event.venue} and the subscriptions of {event.account} agree on {event.instrument} again: {own}"
        return [telling.alert(account.account, "position_agrees", "info", text, now_ms)]
    account.venue_differs[event.instrument] = difference
    text = (
        f"{event.venue} holds {event.size} {event.instrument} for {event.account}, its subscriptions together {own}: "
        "look who traded there; close the difference at the venue, or repair a subscription"
    )
    numbers = {"venue": str(event.size), "ours": str(own), "difference": str(difference)}
    return [telling.alert(account.account, "position_differs", "critical", text, now_ms, numbers)]
