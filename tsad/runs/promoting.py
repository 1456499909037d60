"""A version is promoted after a comparison: what the active one and it made of the same history."""

from storage.backfills import BackfillRow, Backfills
from storage.models import Models
from storage.types import NotThereError, StoreError
from tsad.runs.inputs import same_input


def compared(backfills: Backfills, models: Models, stream: str, version: str, run: str) -> tuple[str, str]:
    """The runs of the active version and of `version` over the same input, of which one is `run`. StoreError says what
    is missing."""
    row, active = backfills.row(run), models.active(stream)
    if row is None or row.stream != stream:
        raise NotThereError(f"there is no backfill {run!r} of the stream {stream!r}")
    known = [one.version for one in models.listing(stream)]
    if version not in known:
        raise StoreError(f"stream {stream!r} has no model version {version!r}; it has: {', '.join(known) or 'none'}")
    if active is None:
        raise StoreError(f"stream {stream!r} has no active model: there is nothing to compare with")
    if active.version == version:
        raise StoreError(f"{version!r} is the active model of {stream!r} already")
    versions = (active.version, version)
    if row.model_version not in versions:
        raise StoreError(
            f"run {run!r} is of the model {row.model_version!r}, and neither of the active one, {active.version!r}, "
            f"nor of {version!r}"
        )
    wanted = versions[row.model_version == active.version]
    if row.state != "finished":
        raise StoreError(f"run {run!r} is not finished, but {row.state}: `tsad backfill` goes on with it")
    there = [one for one in backfills.listing(stream) if one.model_version == wanted and one.state == "finished"]
    partner = next((one for one in _nearest(run, there) if same_input(backfills, row, one)), None)
    if partner is None:
        raise StoreError(
            f"no finished run of the model {wanted!r} has read what {run!r} did; `tsad backfill {stream} ... --compare "
            f"{version}` makes both"
        )
    return (run, partner.run) if row.model_version == active.version else (partner.run, run)


def _nearest(run: str, rows: list[BackfillRow]) -> list[BackfillRow]:
    """Those first that were made together with `run`: one's name begins with the other's."""
    return sorted(rows, key=lambda row: not (row.run.startswith(f"{run}.") or run.startswith(f"{row.run}.")))
