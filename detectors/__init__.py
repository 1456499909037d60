"""Strangeness: windows in, scores out."""
