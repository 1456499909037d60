"""The table `[triage]` of `tsad.toml`: which alerts form one incident, and when answers teach models."""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field

from streaming.settings import SECOND
from tsad.section import Duration, Section


@dataclass(frozen=True, slots=True)
class Bonds:
    """How near in time alerts of one incident are (`gap`), how long after its first one others may join (`span`), how
    alike curves must be (`correlation`), and incidents of one type (`alike`)."""

    gap: timedelta = timedelta(minutes=10)
    span: timedelta = timedelta(hours=6)
    correlation: float = 0.9
    alike: float = 0.8


class TriageConfig(Section):
    """`[triage]`: how alerts become incidents, and when answers a new normal."""

    gap: Duration = 600 * SECOND
    span: Duration = 6 * 3600 * SECOND
    labels: tuple[str, ...] = ()
    correlation: float = Field(default=0.9, gt=0, le=1)
    alike: float = Field(default=0.8, gt=0, le=1)
    learn_after: int = Field(default=3, ge=1)
    every: Duration = 5 * SECOND

    def bonds(self) -> Bonds:
        """The plain value."""
        return Bonds(_seconds(self.gap), _seconds(self.span), self.correlation, self.alike)


def _seconds(ns: int) -> timedelta:
    return timedelta(microseconds=ns // 1000)
