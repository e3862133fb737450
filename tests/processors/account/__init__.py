"""Tests of the account processor."""
