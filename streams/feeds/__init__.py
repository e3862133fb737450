"""Feeds: recorded, simulated and file market data, published in log time."""
