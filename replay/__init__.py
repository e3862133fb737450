"""Replay without Kafka: the same processors, inbox core and matching core as live (design law 4)."""
