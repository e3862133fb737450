"""Pure matching core: market data + orders -> fills. See core.py."""
