"""The roof: pipeline, wiring and commands. Knows everything; nobody below imports it."""
