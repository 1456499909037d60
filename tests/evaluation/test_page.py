"""The report: one file that needs nothing else, with every table and picture, and no name that acts as HTML."""

from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import pytest
from PIL import Image

from tsad.evaluation.comparison import OURS, SETTLED, Contest
from tsad.evaluation.page import write_page
from tsad.evaluation.results import Evaluation, Measured

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """The page as a browser takes it: tags with their attributes, and the cells of its tables."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.open, self.tables, self.words = text, [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        if "table" in self.open and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data

    def attributes(self, tag, name):
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]


def png(colour="red"):
    written = BytesIO()
    Image.new("RGB", (4, 2), colour).save(written, "PNG")
    return written.getvalue()


def figures(vus, **more):
    return {
        "rows": 100, "events": 4, "event_recall": 0.75, "episodes": 5, "retracted": 1, "false_episodes": 2,
        "vus_pr_100": vus, "settled_vus_pr_100": vus + 0.1, "average_precision": vus, "event_f1": 0.5, "delay": 2.0,
        "settled_event_f1": 0.4, "settled_average_precision": vus, "false_per_1000_rows": 20.0,
    } | more  # fmt: skip


def measured(folder="set", series="one", vus=0.5, picture=b"", **more):
    return Measured(folder, series, figures(vus, **more), picture)


def page(tmp_path, found, peers=None, title="Detection on data", facts=None):
    path = tmp_path / "deeper" / "report.html"
    write_page(
        path, title, facts or {"profile": "fast"}, Evaluation(found), Contest(Evaluation(found), peers or {}).sides
    )
    return Page(path.read_text(encoding="utf-8"))


def test_it_is_well_formed_and_fetches_nothing(tmp_path):
    told = page(
        tmp_path, [measured(picture=png()), measured(series="two")], {"random": Evaluation([measured(vus=0.1)])}
    )
    assert told.open == []
    assert {tag for tag, _ in told.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert "http" not in told.text
    assert "@import" not in told.text
    assert all(source.startswith("data:image/png;base64,") for source in told.attributes("img", "src"))


def test_each_picture_is_in_it_named_and_reached_from_the_table(tmp_path):
    told = page(tmp_path, [measured(picture=png("red")), measured(series="two", picture=png("blue"))])
    sources = told.attributes("img", "src")
    assert [b64decode(source.partition(",")[2]) for source in sources] == [png("red"), png("blue")]
    assert [alt.endswith(("set / one", "set / two")) for alt in told.attributes("img", "alt")] == [True, True]
    targets = [link.removeprefix("#") for link in told.attributes("a", "href")]
    assert targets == told.attributes("h3", "id")
    assert len(targets) == 2


def test_without_pictures_there_is_no_room_for_them(tmp_path):
    told = page(tmp_path, [measured()])
    assert not told.attributes("img", "src")
    assert "Pictures" not in "".join(told.words)
    assert not told.attributes("a", "href")


@pytest.mark.parametrize("place", ["title", "folder", "series", "facts"])
def test_a_name_is_text_wherever_it_stands(tmp_path, place):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    given = {
        "title": {"title": evil}, "folder": {}, "series": {}, "facts": {"facts": {evil: evil}},
    }[place]  # fmt: skip
    name = {place: evil} if place in ("folder", "series") else {}
    told = page(
        tmp_path, [measured(picture=png(), **name)], {"random": Evaluation([measured(vus=0.1, **name)])}, **given
    )
    assert told.open == []
    assert "script" not in {tag for tag, _ in told.tags}
    assert not [attrs for _, attrs in told.tags if "onerror" in attrs]
    assert "alert(1)" in "".join(told.words)


def test_the_summary_has_a_row_a_folder_and_their_mean(tmp_path):
    told = page(tmp_path, [measured("a", vus=0.4), measured("a", "two", vus=0.6), measured("b", vus=0.9)])
    heads, *rows = told.tables[0]
    assert heads[:3] == ["folder", "series", "VUS-PR"]
    assert [row[:3] for row in rows] == [
        ["a", "2", "0.500"], ["b", "1", "0.900"], ["mean of folders", "2", "0.700"],
    ]  # fmt: skip
    alone = page(tmp_path, [measured("a", vus=0.4)])
    assert [row[0] for row in alone.tables[0][1:]] == ["a"]


def test_the_series_are_listed_with_their_own_figures(tmp_path):
    told = page(tmp_path, [measured("a", vus=0.4), measured("b", vus=0.9, delay=None, events=None)])
    heads, *rows = told.tables[-1]
    assert heads[0] == "series"
    assert [row[0] for row in rows] == ["a / one", "b / one"]
    assert [row[heads.index("VUS-PR")] for row in rows] == ["0.400", "0.900"]
    assert [row[heads.index("rows of delay")] for row in rows] == ["2.0", "-"]
    assert [row[heads.index("events")] for row in rows] == ["4", "-"]


def test_a_series_is_told_in_words_over_its_picture(tmp_path):
    words = "".join(page(tmp_path, [measured(picture=png())]).words)
    assert "100 rows · 4 events, 3 found · 5 episodes, 2 false, 1 retracted · VUS-PR 0.500" in words
    silent = figures(0.5, events=None, false_episodes=None, vus_pr_100=None)
    words = "".join(page(tmp_path, [Measured("set", "one", silent, png())]).words)
    assert "100 rows · 5 episodes, 1 retracted" in words


def test_peers_stand_beside_with_intervals_and_whether_they_look_ahead(tmp_path):
    ours = [measured(vus=0.5), measured(series="two", vus=0.7)]
    peer = Evaluation([measured(vus=0.4), measured(series="two", vus=0.4)])
    told = page(tmp_path, ours, {"k-means": peer})
    titles = [word for word in told.words if word.startswith("Side by side")]
    assert len(titles) == 3
    heads, *rows = told.tables[1]
    assert heads == ["", "looks ahead", "mean", "set", f"{OURS} is better by", f"{SETTLED} is better by"]
    assert [row[:2] for row in rows] == [[OURS, "no"], [SETTLED, "while it settles"], ["k-means", "39 rows"]]
    assert rows[2][2:4] == ["0.400 0.400 to 0.400", "0.400"]
    assert rows[2][4].startswith("+0.200 +0.100 to +0.300")
    assert rows[2][4].endswith("2 : 0")
    assert "Wilcoxon" in "".join(told.words)


def test_without_peers_nothing_stands_beside(tmp_path):
    words = "".join(page(tmp_path, [measured()]).words)
    assert "Side by side" not in words
    assert "Wilcoxon" not in words


def test_series_without_labels_still_make_a_page(tmp_path):
    told = page(tmp_path, [Measured("set", "one", {"rows": 3, "events": None, "episodes": 0, "retracted": 0}, png())])
    assert told.tables[0][1][:3] == ["set", "1", "-"]
    assert "3 rows · 0 episodes, 0 retracted" in "".join(told.words)
