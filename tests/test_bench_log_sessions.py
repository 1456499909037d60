"""The benchmark of sessions and alert lines says what it measured: a tiny run of it on made logs."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.detectors.planted_sessions import TEMPLATES, crowd, sessions_of
from tests.evaluation.made_logs import alerts, blocks

REFERENCES = {"pca", "knn", "1-nn", "isolation-forest", "deeplog"}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    import benchmarks.log_sessions as found

    return found


@pytest.fixture(scope="module")
def report(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    blocks(folder / "log_hdfs_2pct", many=120, odd=(20, 90))
    alerts(folder / "log_loghub_2k" / "BGL", many=300)
    found: dict[str, Any] = bench.sessions(folder)
    return found


def test_what_is_there_is_measured_beside_every_reference(report: dict[str, Any]) -> None:
    assert set(report) == {"hdfs", "bgl"}
    hdfs = report["hdfs"]
    assert hdfs["ap_unlabelled"] == hdfs["ap_clean"] == hdfs["f1_clean"] == 1.0
    assert hdfs["judged"] == 60 and hdfs["anomalies"] == 1
    assert set(hdfs["references"]) == REFERENCES
    for told in hdfs["references"].values():
        assert set(told) == {"ap_unlabelled", "f1_unlabelled", "ap_clean", "f1_clean"}
        assert all(0 <= value <= 1 for value in told.values())


def test_it_is_printed(bench: ModuleType, report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    bench.show_sessions(report)
    said = capsys.readouterr().out
    assert "hdfs: 1 anomalies among 60" in said
    assert all(name in said for name in REFERENCES)


def test_no_data_is_no_figure(bench: ModuleType, tmp_path: Path) -> None:
    assert bench.sessions(tmp_path) == {}
    shutil.copytree(blocks(tmp_path / "elsewhere"), tmp_path / "log_hdfs")
    assert bench.sessions(tmp_path) == {}


def test_a_window_holds_the_ten_templates_before_in_the_same_session() -> None:
    from benchmarks.deeplog import WINDOW, windows_of

    sessions = sessions_of([[1, 2, 3], [4], [5, 5, 1] * 5])
    found = windows_of(sessions, TEMPLATES, by_line=False)
    assert found.shape == (19, WINDOW + 1)
    none = TEMPLATES + 1
    assert found[2].tolist() == [none] * 8 + [1, 2, 3]
    assert found[3].tolist() == [none] * 10 + [4]
    assert found[18].tolist() == ([5, 5, 1] * 5)[-11:]
    assert windows_of(sessions, TEMPLATES, by_line=True)[3].tolist() == [none] * 7 + [1, 2, 3, 4]


def test_the_lstm_learns_an_order() -> None:
    from benchmarks.deeplog import deeplog

    train, _ = crowd(300)
    test = sessions_of([[1, 2, 2, 2, 3, 3, 5], [5, 3, 3, 2, 2, 2, 1]])
    known, found = deeplog(False, train, test, TEMPLATES)
    assert known.shape == (300,)
    assert found[1] > found[0]
    again = deeplog(False, train, test, TEMPLATES)[1]
    np.testing.assert_allclose(again, found, rtol=1e-3)
