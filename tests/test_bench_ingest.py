"""The benchmark of push ingestion measures what it says it does: a tiny run of it, without a word about time."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.journalreader import JournalReader
from streaming.settings import TelemetryFormat

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def ingest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_ingest", ROOT / "benchmarks" / "ingest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row_that_counts_is_on_disk_and_can_be_read(ingest: ModuleType, tmp_path: Path) -> None:
    assert ingest.ingest_rows_per_s(tmp_path, messages=3) > 0
    held = JournalReader(tmp_path / "journal").read(10)
    assert [entry.payload for entry in held] == [ingest.message(number) for number in range(3)]
    decoder = decoder_of(TelemetryFormat(format="remote-write"), Columns())
    far = np.full(3, 2 * 10**18)
    records = decoder.decode([entry.payload for entry in held], np.arange(3), far, 3)
    assert len(records.dead) == 0
    assert np.isfinite(records.values).sum() == 3 * ingest.ROWS
    assert len(records.names) == ingest.HOSTS
    assert len(set(records.times.tolist())) == 3 * ingest.SAMPLES
