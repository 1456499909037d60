"""Errors as problem documents (RFC 9457): one form for everything that goes wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import NoneType
from typing import Any, get_args, get_origin

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from storage.types import StoreError

MEDIA = "application/problem+json"


class FieldFault(BaseModel):
    """One value of a request that is not allowed."""

    field: str = Field(description="Where it stands: query.limit, path.alert.")
    detail: str = Field(description="What is allowed.")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"example": {
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no alert 'abc'", "errors": [],
    }})  # fmt: skip

    type: str = Field(default="about:blank", description="The status says it all.")
    title: str = Field(description="The status in words.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What is wrong with this request, and what is allowed.")
    errors: list[FieldFault] = Field(default=[], description="By field, where a value is not allowed.")


class ProblemError(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: tuple[FieldFault, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.errors = status, detail, headers, errors

    @classmethod
    def of(cls, field: str, detail: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> "ProblemError":
        """A value that is not allowed, or (404) of which there is nothing."""
        return cls(status, f"{field}: {detail}", errors=(FieldFault(field=field, detail=detail),))

    def response(self) -> JSONResponse:
        """As it is sent."""
        told = Problem(title=self.status.phrase, status=self.status, detail=self.detail, errors=list(self.errors))
        return JSONResponse(told.model_dump(), self.status, self.headers, MEDIA)


def problem(said: str) -> dict[str, Any]:
    """A problem as an answer of the specification."""
    return {"description": said, "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


NO_JSON: dict[int | str, dict[str, Any]] = {"400": problem("The body is no JSON.")}
"""Of a route that takes a body."""


async def known_parameters(request: Request) -> None:
    """A dependency: a parameter that a route does not have, or is said twice where one counts, is refused, or a slip of
    the pen would filter nothing."""
    route: Any = request.scope["route"]
    known = {field.alias: field.field_info.annotation for field in route.dependant.query_params}
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            said = f"there is no such parameter; there are: {', '.join(sorted(known)) or 'none'}"
            raise ProblemError.of(f"query.{name}"[:200], said)
        if count > 1 and not any(get_origin(part) is list for part in get_args(known[name])):
            raise ProblemError.of(f"query.{name}", f"one value is needed, got {count}")


def answered(api: FastAPI) -> None:
    """Have every error of `api` answered by a problem document."""

    @api.exception_handler(ProblemError)
    def told(_: Request, error: ProblemError) -> JSONResponse:
        return error.response()

    @api.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return ProblemError(HTTPStatus(error.status_code), str(error.detail), error.headers).response()

    @api.exception_handler(RequestValidationError)
    def not_allowed(request: Request, error: RequestValidationError) -> JSONResponse:
        secret = request.url.path.endswith("/session")  # what is sent there is a token, whatever is wrong with it
        # of what may be absent, that it is not absent is no news
        taken = request.scope["route"].dependant.body_params
        body = taken[0].field_info.annotation if taken else None
        faults = tuple(_fault(one, secret, body) for one in error.errors() if one["type"] != "none_required")
        said = "; ".join(f"{one.field}: {one.detail}" for one in faults)
        return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, said, errors=faults).response()

    @api.exception_handler(StoreError)
    def no_database(_: Request, error: StoreError) -> JSONResponse:
        structlog.get_logger().error("a request met a fault of the database", reason=str(error))
        return ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer", {"Retry-After": "5"}
        ).response()

    @api.exception_handler(Exception)
    def broken(_: Request, error: Exception) -> JSONResponse:
        structlog.get_logger().error("a request failed", exc_info=error)
        return ProblemError(
            HTTPStatus.INTERNAL_SERVER_ERROR, "this request failed; the log of the server says why"
        ).response()


def _fault(error: Mapping[str, Any], secret: bool, body: Any) -> FieldFault:
    """Where it stands, what is allowed and, unless it is `secret`, what was given."""
    place = error["loc"]
    if error["type"] == "json_invalid" and isinstance(place[-1], int):  # by FastAPI; pydantic says so itself
        return FieldFault(field="body", detail=f"no JSON: {error['ctx']['error']}, at character {place[-1]}")
    if error["type"] == "extra_forbidden":
        known = ", ".join(_keys(body, place[1:-1]))
        said = f"Extra inputs are not permitted; there are: {known}" if known else error["msg"]
    else:
        said = error["msg"].removeprefix("Value error, ")
    # of a parameter: which it is, and which of several; behind that come names of types
    told = (part for depth, part in enumerate(place) if depth < 2 or place[0] == "body" or isinstance(part, int))
    given = f", got {error['input']!r}"[:200]
    if secret or error["type"] == "missing" or said.endswith(given):
        given = ""
    return FieldFault(field=".".join(map(str, told)), detail=f"{said}{given}")


def _keys(model: Any, place: Sequence[str | int]) -> list[str]:
    """The keys that are allowed at a `place` of a body of this `model`; none where that is no model of ours."""
    while get_origin(model) is not None:
        model = next((part for part in get_args(model) if part is not NoneType), None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    names = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    rest = [part for part in place if isinstance(part, str)]
    return _keys(names.get(rest[0]), rest[1:]) if rest else list(names)
