"""DeepLog's idea (Du et al., CCS 2017) as a reference: an LSTM says which template comes next in a session.

Two layers of 64 on windows of 10 templates, as there; a session's score is its most surprising line, in nats. It learns
from at most `SESSIONS` sessions, evenly spaced; windows that are the same are learnt from once, with their number.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detectors.sessioncounts import known_codes
from streaming.sessions import Sessions
from tsad.evaluation.extents import Doubles
from tsad.evaluation.logbaselines import Scored

WINDOW, HIDDEN, LAYERS, EPOCHS, BATCH, RATE, SEED = 10, 64, 2, 8, 256, 2e-3, 7
SESSIONS = 5000


class NextTemplate(nn.Module):
    """The logits of the template behind each window (B x 10 -> B x templates)."""

    def __init__(self, templates: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(templates + 2, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, LAYERS, batch_first=True)
        self.out = nn.Linear(HIDDEN, templates + 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits."""
        hidden, _ = self.lstm(self.embedding(windows))
        found: torch.Tensor = self.out(hidden[:, -1])
        return found


def windows_of(sessions: Sessions, templates: int, by_line: bool) -> NDArray[np.int64]:
    """M x 11: the ten templates before each line in its session, and its own; `templates` + 1 before the first.
    `by_line`: all lines are one session."""
    codes = known_codes(sessions, templates)
    lengths = np.array([len(codes)]) if by_line else sessions.lengths
    firsts = np.zeros(1, np.int64) if by_line else sessions.bounds[:-1]
    places = np.arange(len(codes)) - np.repeat(firsts, lengths)
    found = np.full((len(codes), WINDOW + 1), templates + 1, np.int64)
    found[:, -1] = codes
    for back in range(1, WINDOW + 1):
        there = np.flatnonzero(places >= back)
        found[there, WINDOW - back] = codes[there - back]
    return found


def surprise(model: NextTemplate, windows: NDArray[np.int64]) -> Doubles:
    """Nats of the last template of each window (M)."""
    distinct, place = np.unique(windows, axis=0, return_inverse=True)
    nats: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for start in range(0, len(distinct), 4096):
            part = torch.from_numpy(distinct[start : start + 4096])
            nats.append(nn.functional.cross_entropy(model(part[:, :-1]), part[:, -1], reduction="none").numpy())
    found: Doubles = np.concatenate(nats)[place.reshape(-1)].astype(np.float64)
    return found


def taught(windows: NDArray[np.int64], templates: int) -> NextTemplate:
    """The model, learnt from windows."""
    torch.manual_seed(SEED)
    model = NextTemplate(templates)
    distinct, numbers = np.unique(windows, axis=0, return_counts=True)
    known, weights = torch.from_numpy(distinct), torch.from_numpy(numbers / numbers.mean()).float()
    descent = torch.optim.Adam(model.parameters(), RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(known)).split(BATCH):
            loss = nn.functional.cross_entropy(model(known[batch, :-1]), known[batch, -1], reduction="none")
            descent.zero_grad()
            (loss * weights[batch]).mean().backward()
            descent.step()
    return model.eval()


def deeplog(by_line: bool, train: Sessions, test: Sessions, templates: int) -> Scored:
    """Scores of the sessions fitted on, and of those to judge."""
    known = windows_of(train, templates, by_line)
    shown = np.unique(np.linspace(0, len(train) - 1, min(len(train), SESSIONS)).astype(np.int64))
    model = taught(known if by_line else windows_of(train.take(shown), templates, by_line), templates)

    def score(sessions: Sessions, windows: NDArray[np.int64]) -> Doubles:
        found = np.zeros(len(sessions))
        np.maximum.at(found, sessions.owners, surprise(model, windows))
        return found

    return score(train, known), score(test, windows_of(test, templates, by_line))
