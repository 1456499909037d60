"""Data sets to replay: files of one's own, read as they look or as a stream reads them, and the bundled ones."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

from streaming.columns import Columns
from streaming.files import KIND_OF_SUFFIX, kind_of, open_source
from streaming.settings import LogFormat, TelemetryFormat
from streaming.sniff import sniff
from streaming.types import Source, Topic
from tsad.config import Config, ConfigError

NO_LIMIT = 4 * 10**18
"""Of time (ns) ahead of a file's own: what is old enough to be replayed is not from the future."""
FEATURES = 4096


@dataclass(frozen=True, slots=True)
class DataSet:
    """What `open` reads, one source after another; `optional`: it need not be wanted."""

    kind: Topic
    open: Callable[[], Sequence[Source]]
    optional: bool = False


def data_set(kind: Topic, path: str, config: Config, stream: str | None) -> DataSet:
    """The data at `path`, as `stream` reads them, else as they look. ConfigError or ValueError where that fails."""
    if path != "-" and not Path(path).exists():
        raise ConfigError(f"{path}: there is no such file or folder")
    if kind == "telemetry":
        form: TelemetryFormat | LogFormat = _telemetry(path, config, stream)
    else:
        section = config.of(stream).logs if stream else None
        form = section.settings() if section else LogFormat()
    return DataSet(kind, lambda: [_open(form, path)])


@contextmanager
def bundled(shop: bool) -> Iterator[dict[Topic, DataSet]]:
    """The data of `tsad demo`: one server's five days, or a `shop` with its logs."""
    with as_file(files("tsad") / "demo_data") as folder:
        if shop:
            wide, lines = TelemetryFormat(layout="wide"), LogFormat()
            yield {
                "telemetry": DataSet("telemetry", lambda: [_open(wide, folder / "nezha-metrics.parquet")], True),
                "logs": DataSet("logs", lambda: [_open(lines, folder / "nezha-logs.jsonl.gz")], True),
            }
            return
        server = TelemetryFormat(layout="wide", entity=None, default_entity="machine-1-6")
        parts = [folder / "smd-train.parquet", folder / "smd-test.parquet"]
        yield {"telemetry": DataSet("telemetry", lambda: list(map(partial(_open, server), parts)))}


def _open(form: TelemetryFormat | LogFormat, path: str | Path) -> Source:
    return open_source(str(path), form, Columns(max_features=FEATURES), max_ahead=NO_LIMIT)


def _telemetry(path: str, config: Config, stream: str | None) -> TelemetryFormat:
    if stream is not None:
        section = config.of(stream).telemetry
        if section is None:
            raise ConfigError(f"stream.{stream}.telemetry = false: it does not say how {path} is read")
        return section.settings()
    if path == "-":
        return TelemetryFormat()
    if not Path(path).is_dir():
        return sniff(path).format
    known = [file for file in sorted(Path(path).iterdir()) if file.is_file() and _readable(file)]
    if not known:
        raise ValueError(f"{path}: this folder has no file that can be read; {', '.join(KIND_OF_SUFFIX)} can be")
    return sniff(known[0]).format


def _readable(file: Path) -> bool:
    try:
        return not file.name.startswith(".") and bool(kind_of(file))
    except ValueError:
        return False
