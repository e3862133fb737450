"""The strategy role: StrategyProcessor over its inbox."""

from typing import Any

from processors.strategy.processor import StrategyProcessor
from streams.shell import ProcessorHandler, build_handler


def handler(strategies: Any, *shell: Any, **options: Any) -> ProcessorHandler:
    """Return the handler; `strategies` are StrategyParams, the rest goes to streams.shell.build_handler."""
    return build_handler("strategy", StrategyProcessor(strategies), *shell, **options)
