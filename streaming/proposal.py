"""A mapping for messages of many series, proposed from a sample of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streaming.columns import Columns
from streaming.formats import format_of
from streaming.json_records import RecordError
from streaming.linereader import LineReader
from streaming.mapping import ENTITY_LABELS, bare
from streaming.messages import AnyDecoder
from streaming.otlp import attributes_of, metrics_of_protobuf
from streaming.otlp_json import metrics_of_json
from streaming.remotewrite import MAX_MESSAGE_BYTES, NAME, write_request
from streaming.settings import Format, MappedFeature, Mapping, TelemetryFormat
from streaming.tables import open_bytes

SAMPLE = 1000
"""Messages that are looked at."""
CHUNK = 50
MAX_FEATURES = 200
MAX_NAME = 240
RAW_SUFFIXES = (".bin", ".pb")
SAMPLE_BYTES = 256 << 20
_NAMES_A_NOTE = 8
_MAX_NAMED = 400


@dataclass(frozen=True, slots=True)
class Proposal:
    """A format and a mapping; `notes` say what was decided, one sentence each."""

    format: Format
    mapping: Mapping
    notes: Sequence[str]


def raw_messages(folder: Path) -> list[bytes]:
    """The first messages of a folder, each in a file .bin or .pb of its own; none where it has no such file."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in RAW_SUFFIXES and file.is_file()]
    payloads, size = list[bytes](), 0
    for file in files[:SAMPLE]:
        size += file.stat().st_size
        if size > SAMPLE_BYTES and payloads:
            break
        payloads.append(file.read_bytes())
    return payloads


def message_lines(file: Path) -> list[bytes]:
    """The first lines of a file."""
    reader = LineReader(open_bytes(file), str(file), MAX_MESSAGE_BYTES)
    try:
        return reader.read(SAMPLE)
    finally:
        reader.close()


def propose(payloads: Sequence[bytes], ingested: int, name: str) -> Proposal:
    """A mapping for the messages in `payloads`, which came at `ingested` (ns). ValueError where they hold no point."""
    formats = Counter(format_of(payload) for payload in payloads)
    seen = ", ".join(f"{count} {kind}" for kind, count in formats.most_common())
    notes = [f"messages looked at: {seen}"]
    form: Format = next(iter(formats)) if len(formats) == 1 else "auto"
    if form == "json":
        return Proposal(form, Mapping(), notes)
    entity = _entity(payloads, notes)
    mapping = Mapping(entity)
    counts, said = _counted(payloads, ingested, mapping)
    if not counts:
        raise ValueError(f"{name}: has no point that can be used; {seen}. {said}".rstrip())
    return Proposal(form, Mapping(entity, _features(counts, notes)), notes)


def _entity(payloads: Sequence[bytes], notes: list[str]) -> tuple[str, ...]:
    """Labels for the entity: the usual ones that most series of a format have, else the one of fewest values."""
    having: Counter[str] = Counter()
    of_format: Counter[tuple[Format, str]] = Counter()
    totals: Counter[Format] = Counter()
    values: dict[str, set[str]] = {}
    for form, labels in _label_sets(payloads):
        totals[form] += 1
        having.update(labels.keys())
        of_format.update((form, name) for name in labels)
        for name, value in labels.items():
            values.setdefault(name, set()).add(value)
    total = sum(totals.values())
    usual = tuple(
        name for name in ENTITY_LABELS if any(2 * of_format[form, name] > count for form, count in totals.items())
    )
    if usual:
        notes.append(f"entity: {', '.join(usual)}")
        return usual
    everywhere = sorted((len(values[name]), name) for name, count in having.items() if count == total)
    told = [name for count, name in everywhere if count > 1] or [name for _, name in everywhere]
    if not told:
        notes.append("entity: no label that every series has, so all are one; set mapping.entity")
        return ()
    notes.append(f"entity: {told[0]}, the label of fewest values that every series has")
    return (told[0],)


def _label_sets(payloads: Sequence[bytes]) -> Iterator[tuple[Format, dict[str, str]]]:
    """The format and the labels of each resource of OTLP and of each series of remote-write."""
    for payload in payloads:
        try:
            match form := format_of(payload):
                case "remote-write":
                    for series in write_request(payload).timeseries:
                        yield form, {label.name: label.value for label in series.labels if label.name != NAME}
                case "otlp":
                    for part in metrics_of_protobuf(payload).resource_metrics:
                        yield form, attributes_of(part.resource.attributes)
                case "otlp-json":
                    for held in metrics_of_json(payload).resource_metrics:
                        yield form, attributes_of(held.resource.attributes)
        except RecordError:
            continue


def _counted(payloads: Sequence[bytes], ingested: int, mapping: Mapping) -> tuple[dict[str, int], str]:
    """The values of each feature, and what was wrong with the first message that was."""
    columns = Columns(max_features=20_000)
    decoder = AnyDecoder(TelemetryFormat(format="auto", mapping=mapping), columns, max_record_bytes=MAX_MESSAGE_BYTES)
    totals: Counter[str] = Counter()
    said = ""
    for start in range(0, len(payloads), CHUNK):
        part = payloads[start : start + CHUNK]
        stop = start + len(part)
        batch = decoder.decode(part, np.arange(start, stop), np.full(len(part), ingested), stop)
        present = np.count_nonzero(~np.isnan(batch.values), axis=0)
        totals.update(dict(zip(batch.features, present.tolist(), strict=False)))
        said = said or (batch.dead[0].detail if batch.dead else "")
    return {name: count for name, count in totals.items() if count}, said


def _features(counts: dict[str, int], notes: list[str]) -> tuple[MappedFeature, ...]:
    """The features that come most often, by name; what is left out is named in `notes`."""
    names = sorted(((-count, bare(feature)) for feature, count in counts.items()))
    distinct = list(dict.fromkeys(name for _, name in names))
    buckets = [name for name in distinct if name.endswith("_bucket")]
    fitting = [name for name in distinct if not name.endswith("_bucket") and len(name) <= MAX_NAME]
    kept, excess = sorted(fitting[:MAX_FEATURES]), fitting[MAX_FEATURES:]
    notes.append(f"features: {len(kept)}, the metrics that come most often")
    _name(notes, "left out, buckets of histograms", buckets)
    _name(notes, f"left out, more than {MAX_FEATURES}", excess)
    return tuple(MappedFeature(name, name) for name in kept)


def _name(notes: list[str], reason: str, names: Sequence[str]) -> None:
    named = names[:_MAX_NAMED]
    groups = [named[start : start + _NAMES_A_NOTE] for start in range(0, len(named), _NAMES_A_NOTE)]
    notes += [f"{reason}: {', '.join(group)}" for group in groups]
    if len(names) > _MAX_NAMED:
        notes.append(f"{reason}: {len(names) - _MAX_NAMED} more")
