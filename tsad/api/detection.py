"""`POST /api/v1/detect`: a series in the request body, judged at once; nothing of it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from tsad.api.desk import Viewer
from tsad.api.problems import ProblemError, problem
from tsad.api.pushing import AtDoor, Door
from tsad.api.resources import Number, Resource, Share
from tsad.section import Zone

if TYPE_CHECKING:  # what judges is imported when it is first asked for
    from tsad.ondemand import Asked, Said

router = APIRouter(tags=["detect"])
LEAST, MOST = 48, 8640
"""Points of a series."""
MOST_CHANNELS, MOST_VALUES = 64, 200_000
AT_ONCE = 2
"""Series that are judged at a time; more are told to come again."""
TOP = 5
"""Channels of an attribution."""
Value = Annotated[float, Field(ge=-1e30, le=1e30)]
Name = Annotated[str, Field(min_length=1, max_length=240, pattern=r"^[^\x00]+$")]
REFUSED: dict[int | str, dict[str, Any]] = {
    "408": problem("The body did not come in time."), "413": problem("The body is too large."),
    "429": problem("Too many requests, or enough series are being judged: come again after `Retry-After` seconds."),
}  # fmt: skip


class DetectRequest(BaseModel):
    """A series of one or several channels that belong together, and how it is to be judged."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {
        "mode": "last", "step": 60, "series": {"requests": [3.0, 4.0, 3.5, 4.0] * 12},
    }})  # fmt: skip

    mode: Literal["entire", "last"] = Field(default="entire", description="Every point, or the last one.")
    timestamps: list[AwareDatetime] | None = Field(
        default=None, max_length=MOST, description="RFC 3339, rising; steps that are left out are missing."
    )
    step: float | None = Field(
        default=None, ge=0.001, le=31_536_000, description="Seconds between two points; else by the timestamps."
    )
    series: dict[Name, Annotated[list[Value | None], Field(min_length=LEAST, max_length=MOST)]] = Field(
        min_length=1, max_length=MOST_CHANNELS, description="Values of each channel, null where one is missing."
    )
    false_alarms: float = Field(
        default=1.0, gt=0, le=1000, description="As many are acceptable in a series of this length."
    )
    timezone: Zone = Field(default="UTC", max_length=100, description="By whose hours and weekdays seasons go.")

    @model_validator(mode="after")
    def _of_one_length(self) -> "DetectRequest":
        lengths = {name: len(values) for name, values in self.series.items()}
        if self.timestamps is not None:
            lengths["timestamps"] = len(self.timestamps)
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name!r:.60} {length}" for name, length in list(lengths.items())[:5])
            raise ValueError(f"channels and timestamps must be of one length, got {said}")
        if len(self.series) * next(iter(lengths.values())) > MOST_VALUES:
            raise ValueError(f"{MOST_VALUES} values are allowed in all")
        return self


class DetectPoint(Resource):
    """What is said of one point."""

    index: int
    time: datetime | None
    score: Number = Field(description="Above 1 is anomalous; null where nothing can be said.")
    p: Number = Field(description="How often a usual point is as strange.")
    is_anomaly: bool
    severity: Literal["info", "warning", "critical"] | None
    lower: dict[str, Number] = Field(description="Of each channel: what is usual.")
    upper: dict[str, Number]
    attribution: list[Share] = Field(description="Of an anomaly: the channels that it shows in, the greatest first.")


class DetectAnswer(Resource):
    """The points, in their order; of `mode` last the last one alone."""

    mode: Literal["entire", "last"]
    step_seconds: float
    anomalies: int
    points: list[DetectPoint]


@dataclass
class Bench:
    """How many series are being judged."""

    busy: int = 0


async def _bench(request: Request) -> Bench:
    found: Bench = request.app.state.bench
    return found


@router.post("/detect", summary="Judge a series", response_model=DetectAnswer, responses=REFUSED, openapi_extra={
    "requestBody": {"required": True, "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/DetectRequest"}},
    }},
})  # fmt: skip
async def detect(request: Request, door: AtDoor, bench: Annotated[Bench, Depends(_bench)], _: Viewer) -> DetectAnswer:
    """Nothing is kept, and nothing of a stream is asked: the answer is a function of the request alone."""
    asked = await _asked(request, door)
    if bench.busy >= AT_ONCE:
        said = f"{AT_ONCE} series are being judged; one at a time is best"
        raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, said, {"Retry-After": "2"})
    bench.busy += 1
    try:
        return await to_thread.run_sync(partial(_answer, asked))
    except ValueError as error:
        raise ProblemError.of("body.series", str(error)) from None
    finally:
        bench.busy -= 1


async def _asked(request: Request, door: Door) -> DetectRequest:
    with door.holding() as hold:
        body = await door.body(request, hold)
        try:
            return await door.read(partial(DetectRequest.model_validate_json, body))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False)
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in faults]) from None


def _answer(told: DetectRequest) -> DetectAnswer:
    from tsad.ondemand import judge_all, judge_last

    points, asked = _series(told)
    if told.mode == "last":
        points, said = points[-1:], judge_last(asked)
    else:
        said = judge_all(asked).at(points)
    severities = said.severities()
    first = len(next(iter(told.series.values()))) - len(points)
    rows = [_point(told, said, severities[k], k, first + k) for k in range(len(points))]
    return DetectAnswer(
        mode=told.mode, step_seconds=asked.step / 1e9, anomalies=sum(row.is_anomaly for row in rows), points=rows
    )


def _series(told: DetectRequest) -> tuple[Any, "Asked"]:
    """The slots of the points, and the series with every slot between. ValueError where timestamps do not go."""
    from tsad.ondemand import Asked, slots_of

    channels = list(told.series)
    values = np.array([told.series[name] for name in channels], np.float64).T
    step = None if told.step is None else round(told.step * 1e9)
    if told.timestamps is None:
        return np.arange(len(values)), Asked(channels, values, step or 60 * 10**9, None, told.false_alarms)
    times = [round(moment.timestamp() * 1e6) * 1000 for moment in told.timestamps]
    slots, step = slots_of(times, step)
    whole = np.full((int(slots[-1]) + 1, len(channels)), np.nan)
    whole[slots] = values
    clock = times[0] + np.arange(len(whole), dtype=np.int64) * step
    return slots, Asked(channels, whole, step, clock, told.false_alarms, told.timezone)


def _point(told: DetectRequest, said: "Said", severity: Any, k: int, index: int) -> DetectPoint:
    channels, flagged = list(told.series), bool(said.anomalous[k])
    pairs = sorted(zip(channels, said.shares[k].tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return DetectPoint(
        index=index, time=None if told.timestamps is None else told.timestamps[index], score=said.score[k], p=said.p[k],
        is_anomaly=flagged, severity=severity,
        lower=_by_name(channels, said.lower[k].tolist()), upper=_by_name(channels, said.upper[k].tolist()),
        attribution=[Share(feature=name, share=share) for name, share in pairs[:TOP] if share] if flagged else [],
    )  # fmt: skip


def _by_name(channels: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    return dict(zip(channels, values, strict=True))


def schemas() -> dict[str, Any]:
    """The form of the request, for the specification."""
    return {"DetectRequest": DetectRequest.model_json_schema()}
