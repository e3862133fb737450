"""Copying: settings of subscriptions, how they are inherited, sizing modes and caps. One file per extension."""
