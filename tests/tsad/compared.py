"""The tables of a run that others must come out like, and how much of each thing is in them."""

from collections import Counter
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.connect import create_engine, parse_url
from tsad.grouping import of_sessions

TABLES = (
    "alerts", "explanations", "scores", "score_rollups", "dead_letters", "audit", "entities", "log_templates",
    "template_aliases", "context_events", "homes",
)  # fmt: skip
TIMES = {"saved_at", "detected_at", "ingested_at", "amended_at", "at", "strayed_at"}
Tables = dict[str, list[Any]]


def tables(url: str) -> Tables:
    """Every row but what clocks say, in a fixed order."""
    engine = create_engine(parse_url(url))
    found: Tables = {}
    with engine.connect() as connection:
        for name in TABLES:
            table = schema.metadata.tables[name]
            columns = [column for column in table.columns if column.name not in TIMES]
            rows = map(dict, connection.execute(sa.select(*columns)).mappings())
            if name == "homes":  # which partition strayed first is not in the records of any one
                rows = (row | {"stray": row["stray"] is not None} for row in rows)
            found[name] = sorted(rows, key=repr)
    engine.dispose()
    return found


def different(one: Tables, other: Tables) -> list[str]:
    """What differs, table by table, for people; empty where nothing does."""
    said = []
    for name in TABLES:
        mine, theirs = Counter(map(repr, one[name])), Counter(map(repr, other[name]))
        missing, more = theirs - mine, mine - theirs
        if missing or more:
            example = next(iter(missing or more))
            said.append(f"{name}: {sum(missing.values())} missing, {sum(more.values())} more, such as {example[:400]}")
    return said


def happened(stream: str, rows: Tables) -> dict[str, int]:
    """How much of each thing is in the rows of `stream` and of its sessions."""
    alerts = [row for row in rows["alerts"] if row["stream"] == stream]
    quoted = [line["line"] for row in alerts for line in row["evidence"].get("lines", ())]
    return {
        "alerts": len(alerts),
        "lines quoted": len(quoted),
        "aliases": len(rows["template_aliases"]),
        "events in lines": len(rows["context_events"]),
        "amended late": len(_changed(stream, rows, "amended", late=True)),
        "retracted": sum(row["state"] == "retracted" for row in alerts),
        "opened late": len(_changed(stream, rows, "opened", late=True)),
    } | _sessions(of_sessions(stream), rows)


def _sessions(stream: str, rows: Tables) -> dict[str, int]:
    alerts = [row for row in rows["alerts"] if row["stream"] == stream]
    elsewhere = [row for row in rows["dead_letters"] if row["detail"].startswith("session ")]
    return {
        "sessions": len(alerts),
        "sessions amended": len(_changed(stream, rows, "amended")),
        "sessions retracted": len(_changed(stream, rows, "retracted")),
        "sessions reopened": len(_changed(stream, rows, "reopened")),
        "hopeless early": len(_changed(stream, rows, "confirmed")),
        "parts of sessions": sum("#" in row["entity"] for row in alerts),
        "lines of sessions elsewhere": len(elsewhere),
    }


def _changed(stream: str, rows: Tables, reason: str, late: bool = False) -> set[str]:
    """The alerts that were changed for that `reason`, by `late` records if that is asked for."""
    return {
        row["alert_id"] for row in rows["audit"]
        if row["stream"] == stream and row["kind"] == "alert" and row["detail"]["reason"] == reason
        and (not late or row["detail"]["late"])
    }  # fmt: skip
