"""The leader role: LeaderProcessor over its inbox."""

from typing import Any

from processors.leader.processor import LeaderProcessor
from streams.shell import ProcessorHandler, build_handler


def handler(*shell: Any, **options: Any) -> ProcessorHandler:
    """Return the handler; all arguments go to streams.shell.build_handler, after role and processor."""
    return build_handler("leader", LeaderProcessor(), *shell, **options)
