"""Kafka: connections, consumers and producers, and a partition of a topic as a source."""
