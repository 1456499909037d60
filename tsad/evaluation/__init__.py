"""Detection measured on labelled series: reading, running as the stream would, metrics without point adjustment."""
