"""ClickHouse as the read side: numbered DDL, the sink that fills it, and the questions people ask it."""
