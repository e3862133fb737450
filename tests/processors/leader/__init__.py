"""Tests of the leader processor."""
