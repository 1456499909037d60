"""Prometheus, and what speaks its HTTP API (VictoriaMetrics, Thanos, Mimir), as a source."""
