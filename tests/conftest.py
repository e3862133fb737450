"""Settings of all tests: a busy machine never decides whether a property holds."""

from hypothesis import HealthCheck, settings

settings.register_profile("wakeline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wakeline")
