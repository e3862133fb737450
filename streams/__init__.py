"""The shell around the processors: Faust, Kafka, feeds, the broker. The only folder that imports Faust."""
