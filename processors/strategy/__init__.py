"""The strategy role: market data to bars, signals and marks. Entry point: `processor.StrategyProcessor`."""
