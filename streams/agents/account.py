"""The account role: AccountProcessor over its inbox."""

from typing import Any

from processors.account.processor import AccountProcessor
from streams.shell import ProcessorHandler, build_handler


def handler(*shell: Any, **options: Any) -> ProcessorHandler:
    """Return the handler; all arguments go to streams.shell.build_handler, after role and processor."""
    return build_handler("account", AccountProcessor(), *shell, **options)
