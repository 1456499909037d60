"""What an evaluation found: figures of each series, and their means."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tsad.evaluation.measuring import Figures


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one series, and its picture (PNG; empty where none was asked for)."""

    folder: str
    series: str
    figures: Figures
    picture: bytes = field(default=b"", repr=False, compare=False)

    def row(self) -> dict[str, str | float | None]:
        """As one row."""
        return {"folder": self.folder, "series": self.series} | self.figures


@dataclass(slots=True)
class Evaluation:
    """What an evaluation found; `ended` is False where it was interrupted."""

    measured: list[Measured]
    ended: bool = True

    def means(self) -> dict[str, Figures]:
        """The mean of each figure over the series of a folder that have it, by folder."""
        folders = sorted({one.folder for one in self.measured})
        return {folder: _means([one.figures for one in self.measured if one.folder == folder]) for folder in folders}

    def mean(self) -> Figures:
        """The mean over folders."""
        return _means(list(self.means().values()))

    def figures(self) -> dict[str, object]:
        """Everything, as plain values."""
        return {"series": [one.row() for one in self.measured], "folders": self.means(), "mean": self.mean()}

    def write_csv(self, path: Path) -> None:
        """A row for each series."""
        rows = [one.row() for one in self.measured]
        names = list(dict.fromkeys(name for row in rows for name in row))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def _means(parts: Sequence[Figures]) -> Figures:
    names = list(dict.fromkeys(name for part in parts for name in part))
    means: Figures = {"series": len(parts)}
    for name in names:
        known = [value for part in parts if (value := part.get(name)) is not None]
        means[name] = sum(known) / len(known) if known else None
    return means
