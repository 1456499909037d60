"""What is pushed to the API: which stream takes it, whether it can be read at all, and into that stream's journal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.files import folder_of
from streaming.handover import Receiver, Remote
from streaming.journal import Journal, Pushed
from streaming.json_records import RecordError
from streaming.otlp import metrics_of_protobuf
from streaming.otlp_json import logs_of_json, metrics_of_json
from streaming.otlp_logs import logs_of_protobuf
from streaming.remotewrite import write_request
from streaming.types import Topic
from streaming.unpacking import check_snappy, gunzipped
from tsad.config import Config
from tsad.incoming import PUSH


class NoStreamError(LookupError):
    """Nothing takes what is pushed; the message says what does."""


class WhichStreamError(LookupError):
    """Several streams take it, and none was named."""


@dataclass(frozen=True, slots=True)
class Pushes:
    """The journals of the streams that take pushes, by topic and stream; `most` bytes may a message have, unpacked."""

    journals: Mapping[Topic, Mapping[str, Journal | Remote]] = field(default_factory=dict)
    most: int = 8 << 20

    @classmethod
    def of(cls, config: Config) -> "Pushes":
        """As configured. No file is touched before something is pushed."""
        most = bytes_of(config)
        journals = {
            # of metrics the same point counts once anyway, whatever the message
            topic: {name: Journal(folder, most, once=topic == "logs") for name, folder in found.items()}
            for topic, found in taking(config).items()
        }
        return cls(journals, config.api.max_push)

    @classmethod
    def at(cls, address: str, config: Config) -> "Pushes":
        """As configured, whose journals the process at `address` writes."""
        journals = {
            topic: {name: Remote(address, str(folder)) for name, folder in found.items()}
            for topic, found in taking(config).items()
        }
        return cls(journals, config.api.max_push)

    def receiver(self) -> Receiver:
        """Takes over what the other processes are sent."""
        every = (journal for found in self.journals.values() for journal in found.values())
        return Receiver({str(journal.folder): journal for journal in every if isinstance(journal, Journal)})

    def journal(self, topic: Topic, stream: str | None) -> Journal | Remote:
        """That of `stream`, or of the only one that takes pushes of `topic`; NoStreamError, WhichStreamError."""
        found = self.journals.get(topic, {})
        known = ", ".join(sorted(found)[:20]) or "none"
        if stream is None and len(found) > 1:
            raise WhichStreamError(f"several streams take pushed {topic}; name one of: {known}")
        if not found or (stream is not None and stream not in found):
            named = "no stream" if stream is None else f"no stream {stream!r:.200}"
            raise NoStreamError(f'{named} takes pushed {topic} (source = "push"); there are: {known}')
        return found[next(iter(found)) if stream is None else stream]

    def readable(self, topic: Topic, format: Pushed, payload: bytes, *, gzip: bool) -> bytes | None:
        """The message as it is kept; None where it says nothing. RecordError where it cannot be read at all: what is
        wrong with some of its points is told when they are read."""
        if gzip:
            payload = gunzipped(payload, self.most)
        return payload if self._says_something(topic, format, payload) else None

    def close(self) -> None:
        """Let others write the journals."""
        for found in self.journals.values():
            for journal in found.values():
                journal.close()

    def _says_something(self, topic: Topic, format: Pushed, payload: bytes) -> bool:
        if not payload:
            return False
        if len(payload) > self.most:
            raise RecordError("too_long", f"{len(payload)} bytes, {self.most} are allowed")
        if format == "remote-write":
            check_snappy(payload, self.most)
            return bool(write_request(payload).timeseries)
        return bool(_parts(topic, format, payload))


def _parts(topic: Topic, format: Pushed, payload: bytes) -> Any:
    """The resources of an OTLP message."""
    if topic == "logs":
        return (logs_of_json(payload) if format == "otlp-json" else logs_of_protobuf(payload)).resource_logs
    return (metrics_of_json(payload) if format == "otlp-json" else metrics_of_protobuf(payload)).resource_metrics


def journal_of(config: Config, stream: str, topic: Topic) -> Path:
    """Where the journal of what is pushed to a stream lies."""
    return Path(config.journal) / folder_of(stream) / topic


def bytes_of(config: Config) -> int:
    """How much a journal may hold."""
    return config.journal_mib << 20


def taking(config: Config) -> dict[Topic, dict[str, Path]]:
    """Which streams take pushes of each topic, and where their journals lie."""
    found: dict[Topic, dict[str, Path]] = {"telemetry": {}, "logs": {}}
    for name, stream in config.stream.items():
        for topic, section in stream.sections.items():
            if section.source == PUSH:
                found[topic][name] = journal_of(config, name, topic)
    return found
