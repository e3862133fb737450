"""The paper venue: a venue of its own behind the executor protocol. See executor.py."""

from executors.paper.executor import PaperExecutor
from executors.paper.market import MarketSource
from executors.paper.params import PaperParams

__all__ = ["MarketSource", "PaperExecutor", "PaperParams"]
