from tests.broker_fixtures import kafka, kafka3, unique

__all__ = ["kafka", "kafka3", "unique"]
