"""The statistics role: StatisticsProcessor over its inbox."""

from typing import Any

from processors.statistics.processor import StatisticsProcessor
from streams.shell import ProcessorHandler, build_handler


def handler(*shell: Any, **options: Any) -> ProcessorHandler:
    """Return the handler; all arguments go to streams.shell.build_handler, after role and processor."""
    return build_handler("statistics", StatisticsProcessor(), *shell, **options)
