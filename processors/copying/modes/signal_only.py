"""Nothing is traded: events are told and skipped."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest


class SignalOnlyMode:
    """Follows nothing; its wish is zero."""

    name = "signal_only"
    needs: frozenset[Need] = frozenset()
    opposite = False
    share = False

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "nothing"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        return Decimal(0)


MODE = SignalOnlyMode()
