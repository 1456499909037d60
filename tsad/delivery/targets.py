"""What can go wrong with a receiver."""


class TargetError(Exception):
    """A receiver did not take a message; it may later."""


class RefusedError(TargetError):
    """It will not take this message, whatever happens."""
