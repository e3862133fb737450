"""How leaders and subscriptions do: sums that do not depend on how the records of different accounts interleave."""
