"""Want of memory, by whatever library tells it: no fault of a detector, and no reason to go on without it."""

_SAID = ("out of memory", "can't allocate memory", "cannot allocate memory")


def short_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was no memory left, of the machine or of a GPU. PyTorch's are RuntimeErrors."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(one in said for one in _SAID)
    )
