"""How leaders and subscriptions do: sums and buckets that do not depend on the order of records."""
