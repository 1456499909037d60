"""What a run over history reads, and its units, as JSON: this travels to who does them, rows do not."""

from typing import Any

import msgspec

from streaming.datasets import DataFile
from streaming.types import Topic


class File(msgspec.Struct, tag="file", frozen=True):
    """A file or a folder, whole, as `tsad run` reads it."""

    path: str


class Tables(msgspec.Struct, tag="tables", frozen=True):
    """The rows of `entities` (None = of all) in the files of a data set, each with its path, size and stamp."""

    url: str
    files: list[DataFile]
    entities: list[str] | None = None


class Rows(msgspec.Struct, tag="rows", frozen=True):
    """The rows of `entities` that a SQL statement gives. `url` may name environment variables as ${NAME}. `planned`
    (ns): none may lie further in the future than that allows."""

    url: str
    statement: str
    planned: int
    entities: list[str] | None = None


class Part(msgspec.Struct, tag="part", frozen=True):
    """The messages of a partition of a Kafka topic from the offset `first` to before `end`."""

    topic: str
    partition: int
    first: int
    end: int


class Series(msgspec.Struct, tag="series", frozen=True):
    """What the configured server of metrics answers of `entities` (None = of all)."""

    entities: list[str] | None = None


class Slots(msgspec.Struct, tag="slots", frozen=True):
    """The closed slots `first` to `last` of a partition that the stream itself has kept."""

    partition: int
    first: int
    last: int


Reading = File | Tables | Rows | Part | Series | Slots


class Stretch(msgspec.Struct, frozen=True):
    """A part of a series in time: the slots from `begin` to before `end` (None: as far as there are any) are the unit's
    own. It reads `before` slots in front of them and `after` behind, more where that does not tell all of them; the
    series goes from slot `first` to `last`."""

    begin: int | None
    end: int | None
    before: int
    after: int
    first: int
    last: int


class Unit(msgspec.Struct, frozen=True):
    """What one process does from beginning to end: it reads records from `since` to before `until` (ns of event time,
    None = all), of a `stretch` those in it and around it. Slots up to `through` close; files of results hold `span`
    hours."""

    reads: dict[Topic, Reading]
    since: int | None = None
    until: int | None = None
    through: int | None = None
    span: int = 1
    stretch: Stretch | None = None


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for: telemetry of `input` (with `query` a database), `logs`; times in ns of event time; about
    `unit_rows` rows a unit; `bands` beside the closed slots."""

    input: str | None = None
    logs: str | None = None
    query: str | None = None
    since: int | None = None
    until: int | None = None
    unit_rows: int | None = None
    bands: bool = True


class Request(msgspec.Struct, frozen=True):
    """A unit to be done: for the process that does it."""

    config: dict[str, Any]
    run: str
    stream: str
    version: str
    number: int
    unit: Unit
    bands: bool = False


class Done(msgspec.Struct, frozen=True):
    """What came of a unit; `peak_bytes`: the most memory that its process has held so far."""

    rows: int
    windows: int
    seconds: float
    peak_bytes: int
