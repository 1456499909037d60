"""Context events: kept once, whoever tells of them; alerts that name one, and what is said of those."""

from dataclasses import replace
from datetime import timedelta

import pytest
from stored_samples import Clock, alert, announcement, at, empty

from storage.context import LOGS, ContextEvents
from storage.documents import load_json
from storage.engine import Database
from storage.events import ContextEvent
from storage.leases import Leases
from storage.outbox import Outbox
from storage.prune import prune
from storage.read import Reader
from storage.store import Store

DEPLOY = ContextEvent("deploy", at(10), "web-*", at(12), "shop 9", {"by": ["ci", 7]}, "events.jsonl")
BACKUP = ContextEvent("backup", at(20), title="nightly \0 \udcff")


@pytest.fixture
def store(database: Database) -> Store:
    Leases(database, Clock()).acquire("fleet", [0], "host-a")
    return Store(database, Clock())


def test_an_event_is_kept_once_whoever_tells_of_it(database: Database, store: Store) -> None:
    events = ContextEvents(database, Clock())
    events.add("fleet", [DEPLOY, BACKUP, DEPLOY])
    store.save([empty(context_events=[replace(DEPLOY, source="elsewhere", detail={}), BACKUP])])
    backup, deploy = events.listing("fleet")
    assert deploy == DEPLOY
    assert (deploy.id, backup.id) == (DEPLOY.id, BACKUP.id)
    assert (backup.entity, backup.end) == (None, None)
    assert events.listing("other") == events.listing("fleet", run="past") == []


def test_events_are_listed_from_a_time_on(database: Database) -> None:
    events = ContextEvents(database, Clock())
    mine = ContextEvent("deploy", at(30), "web-1", source=LOGS)
    events.add("fleet", [DEPLOY, BACKUP, mine])
    assert [one.kind for one in events.listing("fleet", since=at(11))] == ["deploy", "backup", "deploy"]
    assert events.listing("fleet", since=at(13), limit=1) == [mine]
    assert [one.kind for one in events.listing("fleet", since=at(13), told=True)] == ["backup"]


def test_old_events_are_pruned(database: Database) -> None:
    clock = Clock()
    events = ContextEvents(database, clock)
    events.add("fleet", [DEPLOY])
    assert prune(database, {"context_events": 400}, clock.now + timedelta(days=399)) == {"context_events": 0}
    assert prune(database, {"context_events": 400}, clock.now + timedelta(days=401)) == {"context_events": 1}


def test_an_alert_names_the_event_that_explains_it(database: Database, store: Store) -> None:
    named = {"id": DEPLOY.id, "kind": "deploy", "title": "shop 9", "time": "then", "why": "rule"}
    store.save([empty(alerts=[alert("web-1", explained_by_event=named), alert("web-2")])])
    found = {one.entity: one.explained_by_event for one in Reader(database).alerts()}
    assert found == {"web-1": named, "web-2": {}}
    store.save([empty(alerts=[alert("web-1")])])
    assert {one.entity: one.explained_by_event for one in Reader(database).alerts()} == {"web-1": {}, "web-2": {}}


def test_a_quiet_message_goes_out_only_behind_another(database: Database, store: Store) -> None:
    first, second = alert("web-1"), alert("web-2")
    outbox = Outbox(database)

    def say(one: object, content: str, quiet: bool) -> list[tuple[int, str]]:
        said = replace(announcement(one, content), quiet=quiet)  # type: ignore[arg-type]
        store.save([empty(alerts=[one], announcements=[said])])
        bodies = [load_json(message.payload) for message in outbox.take("fleet", {0: 1}, 100)]
        return [(body["revision"], body["said"]) for body in bodies if body["id"] == one.id]  # type: ignore[attr-defined]

    assert say(first, "opened", True) == []
    assert say(first, "resolved", True) == []
    assert say(second, "opened", False) == [(1, "opened")]
    assert say(second, "explained", True) == [(1, "opened"), (2, "explained")]
    assert say(first, "raised", False) == [(1, "raised")]
