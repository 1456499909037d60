"""The tables of the terminal: what stands in them, and how figures are written."""

import pytest
from rich.console import Console

from tsad.evaluation.comparison import compare
from tsad.evaluation.results import Evaluation, Measured
from tsad.evaluation.summary import JUDGED, RANKED, curve_table, side_table, summary_table, written


def evaluation(**folders):
    """Series with a VUS-PR each, by folder."""
    return Evaluation(
        [
            Measured(folder, f"s{place}", {"vus_pr_100": value, "settled_vus_pr_100": value, "delay": 2.5})
            for folder, values in folders.items()
            for place, value in enumerate(values)
        ]
    )


def printed(table, width):
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def lines_of(table):
    """What is printed, a list of cells a line."""
    return [[cell.strip() for cell in line.strip("│┃").split("│")] for line in printed(table, 240).splitlines()]


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
    lines = lines_of(summary_table(evaluation(a=[0.2, 0.4], b=[0.9])))
    rows = [line for line in lines if line[0] in ("a", "b", "mean of folders")]
    assert [line[0] for line in rows] == ["a", "b", "mean of folders"] * 2  # over all thresholds, and at our own
    vus, delay = 1 + list(RANKED).index("vus_pr_100"), 1 + list(JUDGED).index("delay")
    assert [line[vus] for line in rows[:3]] == ["0.300", "0.900", "0.600"]
    assert [line[delay] for line in rows[3:]] == ["2.5"] * 3
    assert [line[1] for line in rows[:3]] == ["2", "1", "2"]
    alone = {line[0] for line in lines_of(summary_table(evaluation(a=[0.2])))}
    assert "mean of folders" not in alone


def test_contestants_have_a_row_each_with_what_ours_are_better_by():
    ours, peers = evaluation(a=[0.5, 0.7]), {"ecod": evaluation(a=[0.4, 0.4]), "random": evaluation(a=[0.1, 0.3])}
    text = printed(side_table("vus_pr_100", compare(ours, peers, "vus_pr_100")), 100)
    rows = {line.split("  ")[0].strip(): line for line in (one.strip() for one in text.splitlines())}
    assert "0.600 (0.500 to 0.700)" in rows["tsad"]
    assert "p " not in rows["tsad"]
    assert "whole file" in rows["ecod"]
    assert "0.400 (0.400 to 0.400)" in rows["ecod"]
    assert rows["ecod"].endswith("+0.200 (+0.100 to +0.300), p 0.5")
    assert rows["random"].endswith("+0.400 (+0.400 to +0.400), p 0.5")


def test_a_terminal_of_80_characters_shows_every_figure_whole():
    ours, peers = evaluation(smd=[0.5, 0.7], nab=[0.1]), {"isolation-forest": evaluation(smd=[0.4, 0.4])}
    for table in (summary_table(ours), side_table("vus_pr_100", compare(ours, peers, "vus_pr_100"))):
        text = printed(table, 80)
        assert "…" not in text
        assert all(len(line) <= 80 for line in text.splitlines())
    assert "isolation-forest" in text


def test_a_cold_start_has_a_row_for_each_number_of_rows():
    curve = {"0": evaluation(a=[0.1], b=[0.3]), "all": evaluation(a=[0.5], b=[0.7])}
    rows = [line for line in lines_of(curve_table(curve)) if line[0] in curve]
    vus = 1 + list(RANKED).index("vus_pr_100")
    assert [(line[0], line[1], line[vus]) for line in rows[:2]] == [("0", "2", "0.200"), ("all", "2", "0.600")]
