"""Pure logic: no I/O, clock, randomness, logging or async (design law 1)."""
