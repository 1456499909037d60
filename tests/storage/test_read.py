"""What commands and pages ask: filters, prefixes, figures."""

from dataclasses import replace

import pytest
from stored_samples import Clock, alert, at, bundle, empty, explanation

from storage.engine import Database
from storage.leases import Leases
from storage.read import AlertFilter, Reader
from storage.store import Store
from storage.types import Alert, Checkpoint, DeadLetter, EvictedState, StoreError

ALERTS = [
    alert("web-1", 10, state="open", severity="critical", score=3.0),
    alert("web-1", 90, state="resolved", severity="info", explanation="done"),
    alert("web-2", 50, state="confirmed", severity="warning", score=4.0),
    alert("web-2", 70, state="retracted", severity="critical", explanation="done"),
]


@pytest.fixture
def store(database: Database) -> Store:
    clock = Clock()
    leases = Leases(database, clock)
    leases.acquire("fleet", [0, 1], "host-a")
    leases.acquire("fleet", [0], "host-b", run="backfill-1")
    store = Store(database, clock)
    store.save([empty(alerts=ALERTS)])
    elsewhere = empty(alerts=[alert("web-1", 10, run="backfill-1")])
    elsewhere.run = "backfill-1"
    store.save([elsewhere])
    return store


@pytest.fixture
def reader(store: Store, database: Database) -> Reader:
    return Reader(database)


def found(reader: Reader, **which: object) -> list[tuple[str, int]]:
    return [(a.entity, a.opened_slot) for a in reader.alerts(AlertFilter(**which))]  # type: ignore[arg-type]


def test_alerts_are_filtered_newest_first(reader: Reader) -> None:
    cases: list[tuple[dict[str, object], list[tuple[str, int]]]] = [
        ({}, [("web-1", 90), ("web-2", 70), ("web-2", 50), ("web-1", 10)]),
        ({"limit": 2}, [("web-1", 90), ("web-2", 70)]),
        ({"limit": None, "stream": "fleet"}, [("web-1", 90), ("web-2", 70), ("web-2", 50), ("web-1", 10)]),
        ({"stream": "other"}, []),
        ({"run": "backfill-1"}, [("web-1", 10)]),
        ({"run": None, "entity": "web-1", "states": ["open"]}, [("web-1", 10), ("web-1", 10)]),
        ({"entity": "web-2"}, [("web-2", 70), ("web-2", 50)]),
        ({"states": ["open", "confirmed"]}, [("web-2", 50), ("web-1", 10)]),
        ({"severities": ["critical"], "entity": "web-1"}, [("web-1", 10)]),
        ({"since": at(73)}, [("web-1", 90), ("web-2", 70)]),
        ({"since": at(74)}, [("web-1", 90)]),
        ({"explanation": "pending"}, [("web-2", 50), ("web-1", 10)]),
        ({"entity": "web-_"}, []),
    ]
    for which, expected in cases:
        assert found(reader, **which) == expected, which


def test_an_alert_is_found_by_a_prefix_that_is_its_alone(reader: Reader, store: Store) -> None:
    wanted = ALERTS[2]
    parts = [explanation(wanted, "cpu", value=0.2), explanation(wanted, "memory", value=-0.9)]
    store.save([empty(explanations=parts)])
    for prefix in (wanted.id, wanted.id[:12], wanted.id[:12].upper()):
        assert reader.alert(prefix) == (wanted, [parts[1], parts[0]]), "strongest first"


def test_a_prefix_of_none_or_of_several_is_refused(reader: Reader, store: Store) -> None:
    for wrong in ("zzz", "%", "_" * 32, "0" * 40, "-", "é", "g", "\\"):
        with pytest.raises(StoreError, match="is no alert's id"):
            reader.alert(wrong)
    store.save([empty(alerts=[alert(f"host-{n}") for n in range(40)])])
    initials = [a.id[0] for a in reader.alerts(AlertFilter(run=None))]
    shared = next(letter for letter in initials if initials.count(letter) > 1)
    for several in (shared, ""):
        with pytest.raises(StoreError, match="starts more than one alert's id"):
            reader.alert(several)


def test_pending_explanations_strongest_first(reader: Reader) -> None:
    assert [a.score for a in reader.pending("fleet")] == [4.0, 3.0]
    assert [a.score for a in reader.pending("fleet", limit=1)] == [4.0]
    assert reader.pending("other") == []
    assert reader.pending("fleet")[0].window == ALERTS[2].window


def test_dead_letters_by_stream_and_reason(reader: Reader, store: Store) -> None:
    letters = [DeadLetter("telemetry", n, ("future", "broken_json")[n % 2], f"row {n}", bytes([n])) for n in range(6)]
    store.save([empty(dead_letters=letters)])
    assert [row["position"] for row in reader.dead_letters("fleet")] == [5, 4, 3, 2, 1, 0]
    assert [row["payload"] for row in reader.dead_letters(reason="future", limit=2)] == [b"\x04", b"\x02"]
    assert reader.dead_letters("other") == reader.dead_letters(run="backfill-1") == []


def test_the_last_learnt_state_at_or_before_a_slot(reader: Reader, store: Store) -> None:
    rows = [EvictedState(name, slot, f"{name}@{slot}".encode()) for name in ("a", "b", "c") for slot in (5, 9, 20)]
    many = [EvictedState(f"host-{n:04d}", 1, b"x") for n in range(1200)]
    store.save([empty(0, evicted=rows + many), empty(1, evicted=[EvictedState("a", 9, b"another partition's")])])

    def blobs(slot: int, *names: str) -> list[bytes]:
        return [row.blob for row in reader.evicted("live", "fleet", 0, names, slot)]

    assert blobs(9, "b", "a", "unknown") == [b"a@9", b"b@9"]
    assert blobs(19, "a") == [b"a@9"]
    assert blobs(1000, "a", "a") == [b"a@20"]
    assert blobs(4, "a") == blobs(9) == []
    assert len(blobs(9, *[row.entity for row in many])) == 1200


def test_rows_by_table_and_run(reader: Reader, store: Store) -> None:
    other = alert("db-1", partition=1)
    store.save([bundle(1, alerts=[other], explanations=[explanation(other), explanation(other, "memory")])])
    everything = reader.counts()
    assert everything["alerts"] == 6 and everything["explanations"] == 2 and everything["models"] == 0
    assert reader.counts("live")["alerts"] == 5
    assert reader.counts("backfill-1") == {name: int(name == "alerts") for name in reader.counts("live")}


def test_health_names_places_and_owners(reader: Reader, store: Store, database: Database) -> None:
    point = Checkpoint({"telemetry": 800}, 95, {"future": 3})
    store.save([empty(0, checkpoint=point), empty(1, checkpoint=Checkpoint({}, None))])
    Leases(database, Clock()).acquire("fleet", [1], "host-c")
    health = reader.health("fleet")
    assert health["alerts"] == {"open": 1, "resolved": 1, "confirmed": 1, "retracted": 1}
    assert health["pending"] == 2
    first = health["partitions"][0]
    assert (first["next_slot"], first["counts"], first["owner"], first["epoch"]) == (95, {"future": 3}, "host-a", 1)
    assert (health["partitions"][1]["owner"], health["partitions"][1]["epoch"]) == ("host-c", 2)
    assert reader.health("other") == {"alerts": {}, "pending": 0, "partitions": {}}


def test_an_entitys_history(reader: Reader, store: Store) -> None:
    store.save([bundle(1)])
    assert reader.scores("fleet", "web-1")[0]["time"] == at(10)
    assert reader.rollups("fleet", "web-1")[0]["count"] == 60
    assert reader.rollups("fleet", "web-1", run="backfill-1") == []
    assert reader.audit("fleet")[0]["detail"] == {"score": [1.2, 1.7]}
    assert reader.audit("fleet", alert_id="none") == []
    assert [row["text"] for row in reader.templates("fleet")] == ["disk <*> is full"]


def test_an_alert_read_back_can_be_saved_again(reader: Reader, store: Store) -> None:
    read: Alert = reader.alert(ALERTS[0].id)[0]
    store.save([empty(alerts=[replace(read, state="resolved")])])
    assert reader.alert(read.id)[0] == replace(ALERTS[0], state="resolved")


def test_every_dead_letter_comes_once_in_order_whatever_the_page(
    store: Store, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(topic, partition, n) for topic in ("logs", "telemetry") for partition in (0, 1) for n in range(0, 50, 7)]
    for partition in (1, 0):
        letters = [DeadLetter(topic, n, f"r{n % 2}", "", None) for topic, number, n in places if number == partition]
        store.save([empty(partition, dead_letters=letters[::-1])])
    for page in (1, 3, 16, 1000):
        monkeypatch.setattr("storage.read.PAGE", page)
        rows = list(reader.every_dead_letter("fleet"))
        assert [(row["topic"], row["partition"], row["position"]) for row in rows] == places
    odd = [row["position"] for row in reader.every_dead_letter("fleet", reason="r1")]
    assert odd == [7, 21, 35, 49] * 4
    assert list(reader.every_dead_letter("fleet", run="backfill-1")) == list(reader.every_dead_letter("other")) == []
