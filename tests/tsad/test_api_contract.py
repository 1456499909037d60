"""The specification is true: schemathesis asks every operation what it allows and what it does not."""

from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from storage.context import ContextEvents
from storage.engine import Database, open_database
from storage.events import ContextEvent
from storage.leases import Leases
from storage.store import Store
from storage.types import StreamRow
from streaming.journal import Journal
from tests.storage.stored_samples import Clock, alert, at, bundle
from tests.tsad.asking import Asking
from tsad.api.application import PREFIX, specification
from tsad.pushing import Pushes
from tsad.triage.following import triage_of
from tsad.triage.settings import TriageConfig


@pytest.fixture(scope="session")
def asking(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Any) -> Asking:
    """On rows of every kind."""
    import shutil

    place = tmp_path_factory.mktemp("contract") / "tsad.db"
    shutil.copy(sqlite_template, place)
    database: Database = open_database(f"sqlite:///{place}")
    Leases(database, Clock()).acquire("fleet", [0], "host-a")
    store = Store(database, Clock())
    store.put_stream(StreamRow("live", "fleet", 60 * 10**9, {}))
    lines = {"lines": [{"feature": "log.new", "line": "<script>"}], "said": {"log.new": ["a"]}}
    store.save([bundle(alerts=[alert(), alert("b\x00", 12, evidence=lines), alert("c", 13)])])
    triage_of(database, TriageConfig(), Clock()).all()
    ContextEvents(database, Clock()).add("fleet", [ContextEvent("deploy", at(10), "web-*", at(12), "shop 9")])
    journals: Any = {topic: {"fleet": Journal(place.parent / topic, 64 << 20)} for topic in ("telemetry", "logs")}
    return Asking(database, pushes=Pushes(journals), requests_per_second=100_000)


LARGE = {"/v1/metrics", "/v1/logs", "/api/v1/detect"}
"""Whose bodies have large forms. That of a series cannot say all: that channels are of one length, for instance."""
schemathesis.openapi.media_type("application/x-protobuf", st.just(b""))  # what any message may be


SEVERAL_FIELDS = {
    "/detect",
    "/rules",
    "/rules/preview",
    "/calendars/{name}",
    "/alerts/{alert}/marks",
    "/incidents/{incident}/marks",
    "/context-events",
    "/tokens",
}
"""What their bodies hold must fit together (k at most n, an end behind the start), which no schema says."""


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_keeps_to_the_specification(asking: Asking, mode: GenerationMode) -> None:
    """Whether what is asked is allowed or not."""
    me = asking.bearer("admin")
    schema = schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", asking.made, headers=dict(me))
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:
        with suppress(Unsatisfiable):  # there is nothing wrong to say to one without parameters
            keeps_to_it(operation, mode, me)


def keeps_to_it(operation: Any, mode: GenerationMode, me: Any) -> None:
    """Ask one operation."""
    path = operation.path.removeprefix(PREFIX)
    but = [CHECKS.get_one("positive_data_acceptance")] if path in SEVERAL_FIELDS else []
    most = 3 if operation.path in LARGE else 10

    @settings(max_examples=most, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        case.call_and_validate(headers=me, excluded_checks=but)

    asked()


def test_it_is_openapi_3_1(asking: Asking) -> None:
    told = asking.found("/openapi.json")
    assert told["openapi"].startswith("3.1")
    assert told == specification(asking.made)
    for path, operations in told["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            ways = [] if path.endswith("/session") else [{"HTTPBearer": []}, {"APIKeyCookie": []}]
            assert path.startswith("/health") or operation["security"] == ways
            assert {"401", "403", "429"} <= set(operation["responses"]) or path.startswith("/health")
