"""The application of the HTTP API: routes, access, limits, errors and its own specification."""

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from storage.engine import Database
from storage.leases import Clock, utc_now
from tsad.api import (
    alerts,
    answers,
    charts,
    dashboard,
    detection,
    entity_charts,
    incidents,
    pushing,
    review,
    rulings,
    session,
    streams,
    tokens,
)  # fmt: skip
from tsad.api import live as live_events
from tsad.api.access import Bearers, Buckets, Gate
from tsad.api.desk import AtDesk, Beside, Desk, Viewer
from tsad.api.limits import Hardened
from tsad.api.live import Feed
from tsad.api.problems import Problem, answered, known_parameters, problem
from tsad.operating import ApiConfig

PREFIX = "/api/v1"
TITLE = "tsad"
REFUSED = {
    "401": "No token, or one that does not hold.", "403": "The token has another role.", "404": "There is none.",
    "422": "A value is not allowed.", "429": "Too many requests.", "503": "The database does not answer.",
}  # fmt: skip
ROUTERS = (
    alerts.router, charts.router, entity_charts.router, incidents.router, streams.router, answers.router,
    review.router, rulings.router, pushing.WRITE, session.router, tokens.router, live_events.router, detection.router,
)  # fmt: skip
"""Below the prefix, in the order of the specification."""


def api(
    database: Database,
    config: ApiConfig,
    clock: Clock = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    beside: Beside | None = None,
) -> FastAPI:
    """The application on `database` and what is `beside` it; `clock` is the wall's, `monotonic` is in seconds."""
    made = FastAPI(title=TITLE, version="1", openapi_url=None, docs_url=None, redoc_url=None)
    beside = beside or Beside()
    made.state.desk = Desk.of(database, clock, beside)
    made.state.feed = Feed(made.state.desk.overview, clock)
    made.state.gate = Gate(Bearers(made.state.desk.tokens, monotonic), Buckets(config.requests_per_second, monotonic))
    made.state.door, made.state.bench = pushing.Door(beside.pushes), detection.Bench()
    answered(made)
    made.add_middleware(Hardened, most=config.max_body, larger=dict.fromkeys(pushing.PATHS, config.max_push))
    refused: dict[int | str, dict[str, Any]] = {code: problem(said) for code, said in REFUSED.items()}
    inner = APIRouter(prefix=PREFIX, responses=refused, dependencies=[Depends(known_parameters)])
    for router in ROUTERS:
        inner.include_router(router)

    @inner.get("/openapi.json", include_in_schema=False)
    def told(_: Viewer) -> dict[str, Any]:
        return specification(made)

    made.include_router(inner)
    made.include_router(pushing.OTLP, responses=refused, dependencies=[Depends(known_parameters)])
    made.include_router(dashboard.router)

    @made.get("/health/live", tags=["health"], summary="Whether it lives")
    async def live() -> dict[str, bool]:  # of no thread: it answers also while all of them wait for a database
        return {"live": True}

    @made.get(
        "/health/ready", tags=["health"], summary="Whether it can answer", responses={"503": problem(REFUSED["503"])}
    )
    def ready(desk: AtDesk) -> dict[str, bool]:
        desk.reader.streams()
        return {"ready": True}

    return made


def specification(made: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1, with the form of problems."""
    found = made.openapi()
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    found["components"]["schemas"] |= (
        schema.pop("$defs") | {"Problem": schema} | pushing.schemas() | detection.schemas()
    )
    return found
