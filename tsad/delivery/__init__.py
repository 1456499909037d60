"""Telling people, where they already look: routes, what is said on them, and how it gets there. docs/delivery.md."""
