"""`/api/v1/tokens`: who may ask, as `tsad tokens` has it at the command line."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from storage.names import fit_name
from storage.tokens import Role, TakenError
from storage.types import NotThereError
from tsad.api.alerts import Moment
from tsad.api.desk import Admin, AtDesk
from tsad.api.problems import NO_JSON, ProblemError, problem
from tsad.api.resources import Resource

router = APIRouter(prefix="/tokens", tags=["access"])
TokenName = Annotated[str, Path(min_length=1, max_length=200, description="Its name.")]


class TokenEntry(Resource):
    """A token: whose it is, never what it says."""

    name: str
    role: Role
    holds: bool = Field(description="Whether its bearer may ask now.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewToken(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, AfterValidator(fit_name)] = Field(
        min_length=1, max_length=200, description="Whose it is: a person, a dashboard. Of characters that show."
    )
    role: Role = Field(default="viewer", description="What it may.")
    expires_at: Moment | None = Field(default=None, description="From then on it is refused.")


class Made(Resource):
    """A token that was made."""

    name: str
    role: Role
    expires_at: datetime | None
    token: str = Field(description="What its bearer says. It is told this once; only its hash is kept.")


@router.get("", summary="List tokens")
def tokens(desk: AtDesk, _: Admin) -> list[TokenEntry]:
    """All that ever were, by name."""
    now = desk.clock()
    return [
        TokenEntry(
            name=one.name, role=one.role, holds=one.valid(now), created_at=one.created_at, expires_at=one.expires_at,
            revoked_at=one.revoked_at,
        )
        for one in desk.tokens.listing()
    ]  # fmt: skip


@router.post(
    "", summary="Make a token", status_code=HTTPStatus.CREATED,
    responses=NO_JSON | {"409": problem("There is, or was, one of that name.")},
)  # fmt: skip
def add(desk: AtDesk, token: Admin, new: NewToken) -> Made:
    """The answer holds what its bearer says, which nobody can ask for again. A name is never used twice."""
    if new.expires_at is not None and new.expires_at <= desk.clock():
        raise ProblemError.of("body.expires_at", f"{new.expires_at.isoformat()} is over already")
    try:
        said = desk.tokens.add(new.name, new.role, new.expires_at, token.name)
    except TakenError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from None
    return Made(name=new.name, role=new.role, expires_at=new.expires_at, token=said)


@router.delete("/{name:path}", summary="Revoke a token", status_code=HTTPStatus.NO_CONTENT)
def revoke(desk: AtDesk, token: Admin, name: TokenName) -> Response:
    """From now on it is refused, also where it is the one that asks."""
    try:
        desk.tokens.revoke(name, token.name)
    except NotThereError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None
    return Response(status_code=HTTPStatus.NO_CONTENT)
