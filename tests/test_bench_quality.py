"""`make bench-quality` on two tiny sets: every part, its document and its figures, in pieces and again."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import poisson

from benchmarks.quality import main
from benchmarks.quality_page import poisson_interval
from detectors.registry import PROFILES

ROOT = Path(__file__).resolve().parent.parent
TRAIN, TEST, MANY = 300, 160, 5
PEERS = ("k-means", "k-means-causal", "random")
QUICK = ("--profiles", "fast", "--scopes", "entity", "--baselines", *PEERS, "--budgets", "1", "200", "--cold", "1")


def write_set(folder: Path, channels: int, series: int, causes: bool = False) -> None:
    """Waves with an event of ten rows."""
    folder.mkdir(parents=True)
    for number in range(series):
        rng = np.random.default_rng(number)
        phase = np.arange(TRAIN + TEST)[:, None] / np.linspace(7, 23, channels)
        values = (np.sin(phase) + 0.1 * rng.normal(size=phase.shape)).astype(np.float32)
        values[TRAIN + 100 : TRAIN + 110, 0] += 5
        columns = {f"m{place}": column for place, column in enumerate(values.T)}
        label = np.zeros(TEST, np.int8)
        label[100:110] = 1
        test = {"timestamp": np.arange(TEST)} | {name: column[TRAIN:] for name, column in columns.items()}
        pq.write_table(pa.table(test | {"label": label}), folder / f"s{number}.test.parquet")
        train = {"timestamp": np.arange(TRAIN)} | {name: column[:TRAIN] for name, column in columns.items()}
        pq.write_table(pa.table(train), folder / f"s{number}.train.parquet")
        if causes:
            told = {"events": [{"start": 100, "end": 110, "channels": ["m0"]}]}
            (folder / f"s{number}.interpretation_label.json").write_text(json.dumps(told))


class Bench:
    """A data root, and what runs of the benchmark on it left."""

    def __init__(self, folder: Path) -> None:
        self.data, self.out, self.document = folder / "data", folder / "out", folder / "docs" / "quality.md"

    def run(self, *words: str) -> str:
        places = ("--data", str(self.data), "--out", str(self.out), "--document", str(self.document))
        with redirect_stdout(StringIO()) as printed:
            main([*places, *words])
        return printed.getvalue()

    @property
    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "quality.json").read_text())
        return found

    def table(self, title: str) -> list[list[str]]:
        """The rows of the document's table with that title, the heads first."""
        section = self.document.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|---")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"))
    write_set(made.data / "smd", MANY, 2, causes=True)
    write_set(made.data / "nab", 1, 2)
    write_set(made.data / "else", 1, 1)
    # in pieces, as a long run is
    made.run(*QUICK, "--sets", "smd", "--parts", "quality", "baselines")
    made.run(*QUICK, "--parts", "quality", "baselines", "ablation", "thresholds")
    made.run(*QUICK, "--parts", "cost", "coldstart")
    return made


def test_the_pieces_make_one_document(bench: Bench) -> None:
    titles = [line[3:] for line in bench.document.read_text().splitlines() if line.startswith("## ")]
    groups = [f"{kind}, {group}" for kind in ("VUS-PR", "Average precision", "Event F1 at its own threshold")
              for group in ("many channels", "up to 3 channels")]  # fmt: skip
    assert titles == [
        "Series", *groups, "VUS-PR against the best peer of each set",
        "Ablation: fast, entity, many channels", "Ablation: fast, entity, up to 3 channels",
        "At the product's own threshold (budget 1 a day for each series)",
        "The budget: false episodes where at least 10 are expected", "Root cause", "Cost, one core",
        "Cold start: VUS-PR against training rows", "What was tuned on what, and what was dropped",
        "Targets, and what was reached on these series",
    ]  # fmt: skip
    assert "other code" not in bench.document.read_text()
    choices = (ROOT / "benchmarks" / "quality-choices.md").read_text().strip()
    assert bench.document.read_text().strip().endswith(choices)


def test_the_sets_are_told_with_how_many_of_their_series_were_measured(bench: Bench) -> None:
    assert bench.table("Series")[1:] == [["nab", "1", "2 of 2", "15%,750"], ["smd", str(MANY), "2 of 2", "25%"]]


def test_ours_and_peers_are_in_one_table_by_falling_mean(bench: Bench) -> None:
    heads, *rows = bench.table("VUS-PR, many channels")
    assert heads == ["", "looks ahead", "smd", "mean"]
    assert {row[0]: row[1] for row in rows} == {
        "tsad fast, entity": "no", "tsad fast, entity, settled": "settling", "k-means": "39 rows",
        "k-means-causal": "no", "random": "no",
    }  # fmt: skip
    means = [float(row[3].split()[0]) for row in rows]
    assert means == sorted(means, reverse=True)
    told = bench.figures["means"]["vus_pr_100"]["many channels"]
    assert [f"{told[row[0]]['mean']:.3f} [{told[row[0]]['low']:.3f}, {told[row[0]]['high']:.3f}]" for row in rows] == [
        row[3] for row in rows
    ]
    assert bench.table("VUS-PR, up to 3 channels")[0][2] == "nab"


def test_the_means_are_those_of_the_series(bench: Bench) -> None:
    parts = bench.figures["parts"]
    rows = parts["quality"]["fast-entity"]["smd"]["rows"]
    told = bench.figures["means"]["vus_pr_100"]["many channels"]["tsad fast, entity"]["mean"]
    assert told == pytest.approx(np.mean([row["vus_pr_100"] for row in rows]))
    assert sorted(parts) == ["ablation", "baselines", "coldstart", "cost", "quality", "thresholds"]
    assert sorted(parts["baselines"]) == sorted(PEERS)


def test_each_set_names_its_best_peer_and_its_best_causal_one(bench: Bench) -> None:
    rows = bench.table("VUS-PR against the best peer of each set")[1:]
    assert [(row[0], row[1]) for row in rows] == [
        (name, kind) for name in ("smd", "nab") for kind in ("any", "causal") for _ in range(2)
    ]
    causal = [row for row in rows if row[1] == "causal"]
    assert not [row for row in causal if row[2].startswith("k-means ")]
    for row in rows:
        best, ours, apart = float(row[2].split()[1]), float(row[4]), float(row[5].split()[0])
        assert apart == pytest.approx(ours - best, abs=0.0011)


def test_the_ablation_starts_from_what_was_measured(bench: Bench) -> None:
    heads, first, *others = bench.table("Ablation: fast, entity, many channels")
    assert heads == ["", "VUS-PR", "AP", "settled VUS-PR", "settled AP"]
    told = {row[0]: row[3].split()[0] for row in bench.table("VUS-PR, many channels")[1:]}
    assert first[0] == "as it is"
    assert [first[1], first[3]] == [told["tsad fast, entity"], told["tsad fast, entity, settled"]]
    assert {"without linear", "linear alone", "without subspace", "evidence decides too"} <= {row[0] for row in others}
    for row in others:
        mean, apart = float(row[1].split()[0]), float(row[1].split("(")[1].rstrip(")"))
        assert mean - float(first[1]) == pytest.approx(apart, abs=0.0011)


def test_a_budget_is_held_to_where_enough_is_expected(bench: Bench) -> None:
    rows = bench.table("The budget: false episodes where at least 10 are expected")[1:]
    assert {row[2] for row in rows} == {"200"}  # of 1 a day, 300 rows expect a fifth of one
    expected = 200 * 2 * (TEST - 10) / 1440
    for row in rows:
        assert float(row[3]) == pytest.approx(expected, abs=0.5)
        ratio = float(row[5].split()[0])
        assert ratio == pytest.approx(float(row[4]) / expected, abs=0.01)
        low, high = (float(part) for part in row[5].split("[")[1].rstrip("]").split(","))
        assert low <= ratio <= high


def test_cost_and_causes_are_told(bench: Bench) -> None:
    rows = bench.table("Cost, one core")[1:]
    assert [row[:3] for row in rows] == [["fast-entity", "nab", "1"], ["fast-entity", "smd", str(MANY)]]
    for row in rows:
        assert float(row[3].split()[0]) >= 0
        assert float(row[4]) > 0
        assert int(row[6].replace(",", "")) > 1000
        assert int(row[7].replace(",", "")) > 64 * 4
    assert [row[1] for row in bench.table("Root cause")[1:]] == ["smd"]


def test_a_cold_start_is_followed_for_a_first_entity_and_for_one_of_a_fleet(bench: Bench) -> None:
    heads, *rows = bench.table("Cold start: VUS-PR against training rows")
    assert heads[4:] == ["0 rows", "50 rows", "200 rows", "1000 rows", "all rows"]
    assert [row[1:3] for row in rows] == [
        ["nab", "first entity"], ["smd", "first entity"], ["smd", "new one of a known fleet"],
    ]  # fmt: skip
    for row in rows:
        assert row[7] == "–"  # there are no 1,000 rows
        assert all(0 <= float(row[place]) <= 1 for place in (4, 5, 6, 8))


def test_what_is_done_is_not_done_again(bench: Bench) -> None:
    before = {path: path.stat().st_mtime_ns for path in bench.out.rglob("*.json") if path.name != "quality.json"}
    document = bench.document.read_text()
    printed = bench.run(*QUICK, "--parts", "quality", "baselines", "thresholds", "coldstart")
    assert "..." not in printed
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert bench.document.read_text() == document


def test_fewer_series_are_measured_anew_and_what_other_code_left_is_said(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path)
    other.data = bench.data
    few = ("--sets", "else", "--limit", "1", "--profiles", "fast", "--scopes", "entity", "--parts", "quality")
    assert "quality fast-entity else ..." in other.run(*few)
    (path,) = (other.out / "quality" / "parts").rglob("else.json")
    left = json.loads(path.read_text()) | {"code": "another"}
    path.write_text(json.dumps(left))
    assert "quality fast-entity else ..." in other.run(*few)
    path.write_text(json.dumps(left))
    other.run("--sets", "else", "--parts", "baselines", "--baselines", "random")
    assert "**1 of 2 parts were measured with other code" in other.document.read_text()


def test_a_limit_spreads_over_the_series_and_uneven_sets_are_said(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path)
    write_set(other.data / "else", 1, 5)
    peers = ("--sets", "else", "--parts", "baselines", "--baselines")
    other.run(*peers, "random", "--limit", "2")
    assert other.figures["parts"]["baselines"]["random"]["else"]["series"] == ["s0", "s2"]
    assert "same series" not in other.document.read_text()
    other.run(*peers, "z-score")
    assert "**else: not every contestant has the same series.**" in other.document.read_text()


def test_every_profile_may_be_asked_for_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--profiles", "best"])
    refused = capsys.readouterr().err
    assert all(name in refused for name in PROFILES)
    with pytest.raises(SystemExit):
        main(["--data", "/nowhere"])
    assert "holds none of: smd, asd" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_the_poisson_interval_is_the_exact_one(count: int) -> None:
    low, high = poisson_interval(count)
    assert poisson.cdf(count, high) == pytest.approx(0.025)
    assert low == 0 if count == 0 else poisson.sf(count - 1, low) == pytest.approx(0.025)
