"""The paper venue: a venue of its own behind the executor protocol."""
