"""`/api/v1/session`: a browser says its token once, and a cookie that no script can read says it from then on.

The cookie is of this site alone (SameSite=Strict) and lasts as long as the browser; what it holds is the token, so it
ends when that is revoked. A request that changes something needs the header `X-Tsad-Page` beside it, which no page of
another origin can send (`Gate.admit`)."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from tsad.api.access import COOKIE, Gate
from tsad.api.problems import problem
from tsad.api.resources import Bearer, Resource

router = APIRouter(prefix="/session", tags=["access"])
PATH = "/"


class Begun(Resource):
    """Who wants in."""

    token: Annotated[str, Body(max_length=200, description="A token of `tsad tokens add`.")]


@router.post(
    "", summary="Begin a browser's session", openapi_extra={"security": []},
    responses={"400": problem("The body cannot be read.")},
)  # fmt: skip
def begin(request: Request, response: Response, begun: Begun) -> Bearer:
    """Sets the cookie of the session; 401 where the token does not hold."""
    gate: Gate = request.app.state.gate
    token = gate.admit(request, gate.bearers.look_up(begun.token), True, "viewer")
    response.set_cookie(
        COOKIE, begun.token, path=PATH, secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return Bearer.model_validate(token)


@router.delete("", summary="End a browser's session", status_code=HTTPStatus.NO_CONTENT, openapi_extra={"security": []})
def end(response: Response) -> None:
    """Takes the cookie back; the token itself holds on until it is revoked."""
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")
