"""The files that are told where to run are there, and no others start a broker beside those of the lanes."""

from pathlib import Path

from lanes import LANES, LONG, place

FILES = {path.stem: path for path in Path(__file__).parent.rglob("test_*.py")}


def test_every_file_that_is_named_is_there_and_named_once() -> None:
    named = [name for lane in LANES for name in lane] + list(LONG)
    assert len(named) == len(set(named))
    assert set(named) <= FILES.keys()
    assert [place(name) for name in named] == list(range(len(named)))
    assert place("test_house") == place("test_schema") == len(named)


def test_who_wants_the_broker_is_in_a_lane() -> None:
    wanting = {name for name, path in FILES.items() if "kafka_server" + ":" in path.read_text(encoding="utf-8")}
    assert len(wanting) > 20
    assert wanting <= {name for lane in LANES for name in lane}
