"""Which template comes after which: a recurrent network over the lines before (DeepLog's idea, Du et al., CCS 2017)."""

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.adamw import AdamW
from detectors.blocks import in_blocks
from detectors.threads import one_thread
from streaming.cells import FRACTION
from streaming.lastlines import UNKNOWN
from streaming.linescores import MinedLines
from streaming.types import Codes, Floats, State

DEPTH = 10
"""Lines before that are read at most."""
_WIDTH, _HIDDEN, _BATCH, _RATE = 16, 48, 128, 2e-2
_STEPS, _ROUNDS = (300, 2000), 10
"""Steps of learning: each distinct sequence comes some 10 times, within these bounds."""
_WEIGHTS = "net/"


class _Net(nn.Module):
    """From the codes of lines (B x depth, oldest first, unknown = -1) to log probabilities of the next (B x codes)."""

    def __init__(self, codes: int, device: str = "meta") -> None:
        super().__init__()
        self.code = nn.Embedding(codes + 1, _WIDTH, device=device)
        self.past = nn.GRU(_WIDTH, _HIDDEN, batch_first=True, device=device)
        self.next = nn.Linear(_HIDDEN, codes, device=device)

    def forward(self, before: Tensor) -> Tensor:
        _, last = self.past(self.code(before + 1))
        return torch.log_softmax(self.next(last[0]), dim=1)


class Recurrent:
    """Surprise of a line's template after up to ten before it of the same entity, by a GRU, beyond what is usual.

    As `sequence`, of which it takes the place: it sees farther back, and costs some fifty times as much a line. The
    score is the negative log-likelihood in nats (not whether a template is among the likeliest nine, as DeepLog has
    it) above the `quantile` of lines that the network did not know.
    """

    name: ClassVar[str] = "recurrent"
    asks: ClassVar[Literal["which", "how", "else"]] = "how"

    def __init__(self, quantile: float = 0.999, least: int = 100, seed: int = 0) -> None:
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
        self._quantile, self._least, self._seed = quantile, least, seed
        self._usual = np.inf
        self._net: _Net | None = None

    def fit(self, lines: MinedLines, templates: int, rest: NDArray[np.bool_]) -> Codes | None:
        """Learn; the score of each line, where `rest` holds as judged by the other ones (N, int32).

        None with fewer than `least` lines on either side: no quantile would mean anything.
        """
        followed = lines.before[:, 0] >= 0
        if min(np.count_nonzero(followed & rest), np.count_nonzero(followed & ~rest)) < self._least:
            return None
        with one_thread():
            self._net = self._learnt(lines, templates + 1, followed & ~rest)
            surprise = self.surprise(lines)
            self._usual = float(np.quantile(surprise[followed & rest], self._quantile, method="higher"))
            held_out = self._above(surprise)
            self._net = self._learnt(lines, templates + 1, followed)
            surprise = self.surprise(lines)
        # of what may come either way it thinks a little otherwise than the network that did not know the rest
        self._usual = max(self._usual, float(np.quantile(surprise[followed], self._quantile, method="higher")))
        found: Codes = np.where(rest, held_out, self._above(surprise))
        return found

    def _learnt(self, lines: MinedLines, codes: int, known: NDArray[np.bool_]) -> _Net:
        generator = torch.Generator().manual_seed(self._seed)
        net = _Net(codes).to_empty(device="cpu")
        for weight in net.parameters():
            nn.init.uniform_(weight, -(_HIDDEN**-0.5), _HIDDEN**-0.5, generator=generator)
        sequences, times = np.unique(_sequences(lines)[known], axis=0, return_counts=True)
        steps = int(np.clip(_ROUNDS * len(sequences) // _BATCH, *_STEPS))
        learner, whole = AdamW(net, _RATE, steps), torch.from_numpy(sequences)
        upto, draw = np.cumsum(times) / times.sum(), np.random.default_rng(self._seed)
        for _ in range(steps):
            batch = whole[torch.from_numpy(np.searchsorted(upto, draw.random(_BATCH)))]
            learner.gradients.zero_()
            loss: Tensor = -net(batch[:, :-1]).gather(1, batch[:, -1:]).mean()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            learner.step()
        return net

    def surprise(self, lines: MinedLines) -> Floats:
        """Nats of each of N lines, 0 where no line before is known."""
        found = np.zeros(len(lines), np.float32)
        some = np.flatnonzero(lines.before[:, 0] >= 0)
        if len(some):
            sequences, of_line = np.unique(_sequences(lines)[some], axis=0, return_inverse=True)
            with torch.inference_mode(), one_thread():
                found[some] = in_blocks(self._block, sequences.astype(np.float32))[of_line, 0]
        return found

    def _block(self, rows: Floats) -> Floats:
        if self._net is None:
            raise RuntimeError("recurrent is not fitted")
        sequences = torch.from_numpy(rows).long()
        found: Floats = -self._net(sequences[:, :-1]).gather(1, sequences[:, -1:]).numpy()
        return found

    def score(self, lines: MinedLines) -> Codes:
        """Nats above what is usual of N lines (N, int32, in 1/64)."""
        return self._above(self.surprise(lines))

    def _above(self, surprise: Floats) -> Codes:
        found: Codes = np.rint(np.maximum(surprise - self._usual, 0) * FRACTION).astype(np.int32)
        return found

    def state(self) -> State:
        """Weights and what is usual."""
        net = {} if self._net is None else self._net.state_dict()
        weights = {f"{_WEIGHTS}{name}": weight.numpy().copy() for name, weight in net.items()}
        return State(weights | {"usual": np.array(self._usual)})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._usual = float(state.arrays["usual"])
        found = {name: array for name, array in state.arrays.items() if name.startswith(_WEIGHTS)}
        weights = {name.removeprefix(_WEIGHTS): torch.tensor(array) for name, array in found.items()}
        self._net = _Net(len(weights["next.bias"])).to_empty(device="cpu")
        self._net.load_state_dict(weights)


def _sequences(lines: MinedLines) -> NDArray[np.int64]:
    """N x (`DEPTH` + 1): the codes of the lines before, oldest first, and of the line."""
    found = np.full((len(lines), DEPTH + 1), UNKNOWN, np.int64)
    known = min(DEPTH, lines.before.shape[1])
    found[:, DEPTH - known : DEPTH] = lines.before[:, :known][:, ::-1]
    found[:, DEPTH] = lines.codes
    return found
