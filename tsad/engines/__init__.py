"""Where work in pieces is done: on this machine's cores, or on a Ray cluster."""

from contextlib import AbstractContextManager

from tsad.engines.tasks import Engine

ENGINES = ("local", "ray")


def open_engine(
    name: str, workers: int | None = None, address: str | None = None, gpus: float = 0
) -> AbstractContextManager[Engine]:
    """The engine `name` with so many `workers` (None: as many as there are cores); `address` of a Ray cluster that
    runs already, whose GPUs a task has `gpus` of, where there are any. ValueError where they do not go together;
    EngineError, on entering, where it cannot be had."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if name == "ray":
        from tsad.engines.rays import RayEngine

        return RayEngine(workers, address, gpus)
    if name != "local":
        raise ValueError(f"unknown engine {name!r}; there are: {', '.join(ENGINES)}")
    if address is not None:
        raise ValueError(f"an address is one of a Ray cluster, and the engine is {name!r}")
    from tsad.engines.local import LocalEngine

    return LocalEngine(workers)
