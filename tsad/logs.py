"""What a process says on standard error: for people, or a JSON object a line."""

import logging
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Literal

import structlog
from rich.console import Console
from structlog.typing import Processor

from streaming.escapes import printable
from tsad.operating import LogFormat, LogLevel

LEVELS: dict[LogFormat, LogLevel] = {"console": "warning", "json": "info"}
"""The least level that is shown, where nothing is said of it."""


def configure(form: LogFormat = "console", level: LogLevel | None = None, **bound: Any) -> None:
    """Say `level` and above in this form from now on; `bound` is on every line that does not say otherwise."""

    def bind(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in bound.items():
            event.setdefault(name, value)
        return event

    threshold = logging.getLevelNamesMapping()[(level or LEVELS[form]).upper()]
    structlog.reset_defaults()
    structlog.configure(
        processors=_json(bind) if form == "json" else _console(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    if form == "json":
        sys.excepthook = _crashed


def structured() -> bool:
    """Whether every line is JSON."""
    return isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer)


def say(text: str, level: Literal["info", "error"] = "info") -> None:
    """A remark for whoever started the process."""
    if structured():
        getattr(structlog.get_logger(), level)(text)
    else:
        shown = "\n".join(map(printable, text.split("\n")))
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(shown)


def _shown(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Names and reasons come from outside: an escape sequence in one must not reach a terminal."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _console() -> list[Processor]:
    """As structlog has it, but for faults: it would print every variable on the way, tokens among them."""
    *before, _ = structlog.get_config()["processors"]
    plain = structlog.dev.plain_traceback
    return [_shown, *before, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _json(bind: Processor) -> list[Processor]:
    return [
        bind,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str),
    ]


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical(f"{kind.__name__}: {error}", exc_info=(kind, error, trace))
