"""Execution: the protocol that places each order once, its store, and one executor per venue."""
