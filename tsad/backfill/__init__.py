"""Runs over history: planned as units, each of which one process judges as the stream itself would."""
