"""The tables of the terminal: what stands in them, and how figures are written."""

import pytest
from rich.console import Console

from tsad.evaluation.comparison import compare
from tsad.evaluation.results import Evaluation, Measured
from tsad.evaluation.summary import COLUMNS, side_table, summary_table, written


def evaluation(**folders):
    """Series with a VUS-PR each, by folder."""
    return Evaluation(
        [
            Measured(folder, f"s{place}", {"vus_pr_100": value, "settled_vus_pr_100": value, "delay": 2.5})
            for folder, values in folders.items()
            for place, value in enumerate(values)
        ]
    )


def lines_of(table):
    """What is printed, a list of cells a line."""
    console = Console(width=240, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return [[cell.strip() for cell in line.strip("│┃").split("│")] for line in captured.get().splitlines()]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("vus_pr_100", 0.12345, "0.123"), ("series", 12, "12"), ("events", 3.0, "3"), ("delay", 2.25, "2.2"),
        ("false_episodes", 4.0, "4"), ("vus_pr_100", None, "-"),
    ],
)  # fmt: skip
def test_a_figure_is_written_as_people_read_it(name, value, text):
    assert written(name, value) == text


def test_folders_have_a_row_each_and_several_a_mean():
    rows = {line[0]: line[1:] for line in lines_of(summary_table(evaluation(a=[0.2, 0.4], b=[0.9])))}
    vus, delay = list(COLUMNS).index("vus_pr_100"), list(COLUMNS).index("delay")
    assert {name: rows[name][vus] for name in ("a", "b", "mean of folders")} == {
        "a": "0.300", "b": "0.900", "mean of folders": "0.600",
    }  # fmt: skip
    assert (rows["a"][0], rows["a"][delay]) == ("2", "2.5")
    alone = {line[0] for line in lines_of(summary_table(evaluation(a=[0.2])))}
    assert "mean of folders" not in alone


def test_contestants_have_a_row_each_with_what_ours_are_better_by():
    ours, peers = evaluation(a=[0.5, 0.7]), {"ecod": evaluation(a=[0.4, 0.4]), "random": evaluation(a=[0.1, 0.3])}
    table = side_table("vus_pr_100", compare(ours, peers, "vus_pr_100"))
    rows = {line[0]: line[1:] for line in lines_of(table)}
    assert rows["tsad"][:2] == ["no", "0.600 (0.500 to 0.700)"]
    assert rows["tsad"][2:] == ["", ""]
    assert rows["ecod"] == ["whole file", "0.400 (0.400 to 0.400)", *["+0.200 (+0.100 to +0.300), p 0.5"] * 2]
    assert rows["random"][2] == "+0.400 (+0.400 to +0.400), p 0.5"
