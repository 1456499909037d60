"""What comes in: sources, decoding, log mining, event-time windows."""
