"""`/api/v1/review`: which alerts to ask people about first."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from tsad.api.alerts import Name, told_of
from tsad.api.cursors import Limit
from tsad.api.desk import AtDesk, Viewer
from tsad.api.resources import AlertSummary
from tsad.triage.review import recent
from tsad.triage.review import review as chosen

router = APIRouter(tags=["answers"])
Days = Annotated[float, Query(gt=0, le=3660, description="Of history, back from the newest alert.")]


class Asked(AlertSummary):
    """An alert that nobody has answered, and what an answer would teach."""

    why: str = Field(description="In words.")
    alike: int = Field(description="How many unanswered ones are alike, itself included.")
    interest: float = Field(ge=0, description="By which they are ordered, where none that is alike comes before.")


@router.get("/review", summary="Which alerts to ask people about")
def review(desk: AtDesk, _: Viewer, stream: Name = None, days: Days = 30.0, limit: Limit = 20) -> list[Asked]:
    """Unanswered alerts of the run `live`, those first whose answers would teach most: of the newest 2000."""
    standings = desk.answers.standings
    found = chosen(standings, recent(desk.reader, stream, days), limit)
    decided = standings.rulings.decisions([one.alert.id for one in found])
    return [
        Asked.model_validate(
            told_of(one.alert, decided.get(one.alert.id))
            | {"why": one.place.why, "alike": one.place.alike, "interest": one.place.interest}
        )
        for one in found
    ]  # fmt: skip
