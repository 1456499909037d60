"""The commands. Exit codes: 0 done, 1 wrong (a check failed, data or database refused), 2 usage, 130 interrupted."""

import logging
import sys
from typing import NoReturn

from tsad.cli.alerts import alerts, explain
from tsad.cli.answers import feedback, mark
from tsad.cli.backfill import backfill
from tsad.cli.coldstart import cold_start
from tsad.cli.commands import app
from tsad.cli.context import context
from tsad.cli.incidents import incidents, triage
from tsad.cli.notify import notify
from tsad.cli.quality import evaluate
from tsad.cli.registers import db, dead_letters, detectors, models
from tsad.cli.rules import audit, calendars, rules
from tsad.cli.runs import runs
from tsad.cli.serve import serve, tokens
from tsad.cli.setup import check, init
from tsad.cli.streams import demo, fit, run, try_file
from tsad.cli.templates import templates
from tsad.cli.terminal import fail_on
from tsad.cli.topics import produce_topics, rehome, rekey
from tsad.config import ConfigError
from tsad.engines.tasks import EngineError
from tsad.runner import LeaseLostError

__all__ = [
    "alerts",
    "app",
    "audit",
    "backfill",
    "calendars",
    "check",
    "cold_start",
    "context",
    "db",
    "dead_letters",
    "demo",
    "detectors",
    "evaluate",
    "explain",
    "feedback",
    "fit",
    "incidents",
    "init",
    "main",
    "mark",
    "models",
    "notify",
    "produce_topics",
    "rehome",
    "rekey",
    "rules",
    "run",
    "runs",
    "serve",
    "templates",
    "tokens",
    "triage",
    "try_file",
]


def main() -> NoReturn:
    """Run the command line."""
    from storage.types import FileRefusedError, StoreError
    from streaming.broker.settings import BrokerError
    from streaming.types import SourceChanged
    from tsad.engines.tasks import EngineError

    # faults of the cluster are told as ours, once; the client tells of every attempt
    for library in ("kafka", "confluent_kafka"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    expected = (
        ConfigError,
        StoreError,
        FileRefusedError,
        SourceChanged,
        BrokerError,
        LeaseLostError,
        EngineError,
        OSError,
        ValueError,
    )
    with fail_on(expected, {ConfigError: 2}):
        # not standalone: typer would print boxes for wrong usage, and nothing of its own for Ctrl-C
        sys.exit(app(standalone_mode=False) or 0)
