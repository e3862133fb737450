"""Apache Kafka from packages: installed, started, watched and stopped, one node or three.

Entry points: `params.BrokerParams`, `install.install`, `cluster.Cluster`, `errors.BrokerError`.
"""
