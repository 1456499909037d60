"""Data sets beyond this machine's folders: an S3 server of our own, what fsspec knows, and what cannot be reached."""

import gzip

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import START, drain

from streaming.columns import Columns
from streaming.datasets import held, list_files, open_dataset
from streaming.settings import SECOND, TelemetryFormat
from streaming.types import SourceChanged

WIDE = TelemetryFormat(layout="wide", entity="host", time="time")
LONG = TelemetryFormat(layout="long", entity="host", time="time")


def put(store, path, content):
    with store.open_output_stream(path, compression=None) as file:
        file.write(content)


def table(seconds, group=None):
    """A Parquet file of one channel, as bytes."""
    times = pa.array([(START + s) * 1000 for s in seconds]).cast(pa.timestamp("ms", "UTC"))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"time": times, "cpu": [float(s) for s in seconds]}), sink, row_group_size=group)
    return sink.getvalue().to_pybytes()


def at(seconds):
    return (START + seconds) * SECOND


def read(url, form=WIDE, files=None, entities=None, since=None, until=None, **more):
    source = open_dataset(url, files or list_files(url, form), form, Columns(), entities, since, until, **more)
    try:
        return drain(source)
    finally:
        source.close()


def cpu(reading):
    return [(entity, (time - at(0)) // SECOND, values["cpu"]) for entity, time, values in reading.records]


def partitioned(bucket):
    put(bucket, "history/year=2023/host=web%201/part-0.parquet", table([0, 2, 4], group=1))
    put(bucket, "history/year=2023/host=b/part-0.parquet", table([1, 3]))
    put(bucket, "history/year=2023/_SUCCESS", b"")
    put(bucket, "history/year=2024/host=b/part-0.csv.gz", gzip.compress(f"time,cpu\n{START + 9},9\n".encode()))


def test_a_partitioned_data_set_on_s3(bucket):
    partitioned(bucket)
    files = list_files("s3://history/", WIDE)
    assert [file.path for file in files] == [
        "history/year=2023/host=b/part-0.parquet",
        "history/year=2023/host=web%201/part-0.parquet",
        "history/year=2024/host=b/part-0.csv.gz",
    ]
    assert [held("s3://history", file, WIDE) for file in files] == [
        [("b", 2, at(1), at(3))],
        [("web 1", 3, at(0), at(4))],
        [("b", 1, at(9), at(9))],
    ]
    everything = [("web 1", 0), ("b", 1), ("web 1", 2), ("b", 3), ("web 1", 4), ("b", 9)]
    assert cpu(read("s3://history")) == [(host, s, float(s)) for host, s in everything]
    assert cpu(read("s3://history", memory_bytes=0)) == cpu(read("s3://history"))
    assert cpu(read("s3://history", entities=["b"], since=at(2))) == [("b", 3, 3.0), ("b", 9, 9.0)]


def test_patterns_and_single_objects_on_s3(bucket):
    partitioned(bucket)
    assert len(list_files("s3://history/year=2023", WIDE)) == 2
    assert len(list_files("s3://history/*/host=b", WIDE)) == 2
    assert len(list_files("s3://history/**/*.parquet", WIDE)) == 2
    assert cpu(read("s3://history/year=2024/host=b/part-0.csv.gz")) == [("b", 9, 9.0)]


def test_what_is_wrong_on_s3_is_named(bucket, monkeypatch):
    partitioned(bucket)
    files = list_files("s3://history", WIDE)
    put(bucket, "history/year=2023/host=b/part-0.parquet", table([1, 3, 5]))
    with pytest.raises(SourceChanged, match=r"host=b/part-0\.parquet: changed since the data set was listed"):
        read("s3://history", files=files)
    bucket.delete_file("history/year=2023/host=b/part-0.parquet")
    with pytest.raises(SourceChanged, match=r"host=b/part-0\.parquet: is gone"):
        read("s3://history", files=files)
    put(bucket, "history/broken.parquet", b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"history/broken\.parquet: cannot be read as Parquet"):
        read("s3://history/broken.parquet")
    for url in ("s3://history/nothing", "s3://nobodys", "s3://nobodys/x/*.csv"):
        with pytest.raises(ValueError, match=f"{url.partition('*')[0]}.*: there is no such file or folder"):
            list_files(url, WIDE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"s3://history/x: cannot be listed: .*connect"):
        list_files("s3://history/x", WIDE)


def test_a_long_table_on_s3(bucket):
    put(bucket, "history/t.csv", f"host,time,name,value\na,{START},cpu,1\na,{START},mem,2\n".encode())
    assert read("s3://history/t.csv", LONG).records == [("a", at(0), {"cpu": 1.0, "mem": 2.0})]


def test_another_scheme_through_fsspec():
    memory = fsspec.filesystem("memory")
    memory.pipe("/tsad-stores/host=a/t.parquet", table([0, 1]))
    memory.pipe("/tsad-stores/t.csv", f"host,time,cpu\nb,{START + 2},2\n".encode())
    assert cpu(read("memory://tsad-stores")) == [("a", 0, 0.0), ("a", 1, 1.0), ("b", 2, 2.0)]
    assert cpu(read("memory://tsad-stores/*.csv")) == [("b", 2, 2.0)]
    memory.rm("/tsad-stores", recursive=True)


def test_azure_needs_an_account(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ValueError, match="az://history/x: cannot be reached: no account is named"):
        list_files("az://history/x", WIDE)
