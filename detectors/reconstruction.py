"""A masked autoencoder over the newest slots: what it cannot fill in from the rest is strange."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.adamw import AdamW
from detectors.blocks import BLOCK
from detectors.centring import centred_blocks, missing_of, rest
from detectors.options import count, positive, share
from detectors.products import product
from detectors.residuals import mean_over_channels, usual_errors
from detectors.threads import one_thread
from detectors.types import Memory, Scores
from streaming.types import Floats, State, Windows

_BATCH = 256
_WEIGHTS = "net."
_FEWEST_STEPS = 300


class Reconstruction:
    """Masked autoencoder (torch): error of the newest slots, filled in from what a narrow layer keeps.

    The newest `slots` slots of all channels pass through layers of `hidden` and at most `bottleneck` units and back,
    with `narrowing` inputs or more to a unit: a wider layer would copy what it is shown. In training a share `hide` of
    the channels and blocks of time of others are hidden from the input and have to be filled in (context encoding,
    as StRegA and MemMC-MAE do), so that an anomaly cannot be copied to the output. A channel's error is the root mean
    square over the newest `scored` slots, in units of its training range; the score is the mean over channels. Of each
    batch the worst `trim` of the windows do not teach, since training data may hold anomalies. Missing values enter
    as hidden ones. The same seed gives the same bits (one thread); `device` is "cpu", "cuda", or "auto" (CUDA where
    there is one).
    """

    name: ClassVar[str] = "reconstruction"
    memory: ClassVar[Memory] = "window"
    seeded: ClassVar[bool] = True

    def __init__(
        self,
        *,
        slots: int = 10,
        scored: int = 4,
        hidden: int = 128,
        bottleneck: int = 32,
        narrowing: int = 12,
        epochs: int = 20,
        hide: float = 0.2,
        rate: float = 2e-3,
        trim: float = 0.05,
        seed: int = 0,
        device: str = "cpu",
        block: int = BLOCK,
    ) -> None:
        count(1, slots=slots, scored=scored, hidden=hidden, bottleneck=bottleneck, narrowing=narrowing)
        count(1, epochs=epochs, block=block)
        count(0, seed=seed)
        share(hide=hide, trim=trim)
        positive(rate=rate)
        self.slots, self.scored, self.hidden, self.bottleneck = slots, scored, hidden, bottleneck
        self.narrowing = narrowing
        self.epochs, self.hide, self.rate, self.trim, self.seed, self.block = epochs, hide, rate, trim, seed, block
        cuda = device == "auto" and torch.cuda.is_available()
        self._device = torch.device("cuda" if cuda else "cpu" if device == "auto" else device)
        self._net: nn.Sequential | None = None
        self._layers: list[tuple[Tensor, Tensor]] = []
        self._mean: Floats = np.zeros(0, dtype=np.float32)
        self._usual: Floats = np.zeros(0, dtype=np.float32)
        self._seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return self.slots

    def fit(self, windows: Windows) -> None:
        """Train on B >= 1 windows."""
        newest = np.array(windows.values[:, -self.slots :])
        present = ~np.isnan(newest)
        self.slots, self._seen = newest.shape[1], np.asarray(present.any(axis=(0, 1)))
        total = np.where(present, newest, 0).sum(axis=(0, 1), dtype=np.float64)
        self._mean = (total / np.maximum(present.sum(axis=(0, 1)), 1)).astype(np.float32)
        with one_thread():
            self._net = self._fresh(newest.shape[2])
            self._train(self._net, torch.from_numpy(np.where(present, newest - self._mean, np.float32(0))), present)
        self._layers = self._turned(self._net)
        self._usual = usual_errors(self._errors(newest))

    def score(self, windows: Windows) -> Scores:
        """Mean over channels of the root mean squared error; NaN where no known channel has a new value."""
        self._fitted()
        return mean_over_channels(self._errors(windows.values), self._usual)

    def state(self) -> State:
        """Weights and parameters."""
        arrays = {"mean": self._mean, "usual": self._usual, "seen": self._seen}
        for key, value in self._fitted().state_dict().items():
            arrays[_WEIGHTS + key] = value.detach().cpu().numpy().copy()
        keys = ("slots", "scored", "hidden", "bottleneck", "narrowing", "block")
        return State(arrays, {key: getattr(self, key) for key in keys})

    def restore(self, state: State) -> None:
        """Become the detector that gave `state`."""
        for key, value in state.meta.items():
            setattr(self, key, value)
        self._mean, self._usual, self._seen = (state.arrays[key] for key in ("mean", "usual", "seen"))
        self._net = self._fresh(len(self._mean))
        weights = {k: torch.tensor(v) for k, v in state.arrays.items() if k.startswith(_WEIGHTS)}
        self._net.load_state_dict({key.removeprefix(_WEIGHTS): value for key, value in weights.items()})
        self._layers = self._turned(self._net)

    def _fitted(self) -> nn.Sequential:
        if self._net is None:
            raise RuntimeError("reconstruction is not fitted")
        return self._net

    def _fresh(self, channels: int) -> nn.Sequential:
        """An untrained network; its weights come from the seed, not from torch's global generator."""
        width = self.slots * channels
        narrow = min(self.bottleneck, max(width // self.narrowing, 2))
        sizes = [width, self.hidden, narrow, self.hidden, width]
        layers: list[nn.Module] = []
        generator = torch.Generator().manual_seed(self.seed)
        for inputs, outputs in pairwise(sizes):
            layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.GELU()]
        nn.init.zeros_(layer.weight)
        return nn.Sequential(*layers[:-1]).to(self._device)

    def _train(self, net: nn.Sequential, values: Tensor, present: NDArray[np.bool_]) -> None:
        """AdamW with a cosine rate; the loss is over all that is present, hidden or not."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        weights = torch.from_numpy(present.astype(np.float32)).flatten(1)
        batches = max(len(values) // _BATCH, 1)
        epochs = max(self.epochs, -(-_FEWEST_STEPS // batches))
        optimizer = AdamW(net, self.rate, epochs * batches)
        for _ in range(epochs):
            for chosen in torch.randperm(len(values), generator=generator).chunk(batches):
                batch, weight = values[chosen], weights[chosen].to(self._device)
                shown = (batch * self._mask(batch.shape, generator)).flatten(1).to(self._device)
                error = (net(shown) - batch.flatten(1).to(self._device)).square() * weight
                each = error.sum(dim=1) / weight.sum(dim=1).clamp(min=1)
                kept = each.sort().values[: max(round(len(each) * (1 - self.trim)), 1)]
                optimizer.gradients.zero_()
                kept.mean().backward()
                optimizer.step()

    def _mask(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """B x w x F of 0 and 1: of each window a share `hide` of the channels, and one block of slots of others."""
        windows, slots, channels = shape
        hidden = torch.rand((windows, 1, channels), generator=generator) < self.hide
        start = torch.randint(0, slots, (windows, 1, 1), generator=generator)
        length = torch.randint(1, max(slots // 2, 1) + 1, (windows, 1, 1), generator=generator)
        slot = torch.arange(slots).reshape(1, slots, 1)
        block = (slot >= start) & (slot < start + length)
        some = torch.rand((windows, 1, channels), generator=generator) < 2 * self.hide
        return (~(hidden | (block & some))).float()

    def _turned(self, net: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
        """Weights (inputs x outputs, in the order in which a product reads them) and biases of each layer; of the last
        only what the scored slots need."""
        layers = [(layer.weight.detach(), layer.bias.detach()) for layer in net if isinstance(layer, nn.Linear)]
        needed = self.scored * len(self._mean)
        layers[-1] = (layers[-1][0][-needed:], layers[-1][1][-needed:])
        return [(weight.T.contiguous(), bias.contiguous()) for weight, bias in layers]

    def _errors(self, values: Floats) -> Floats:
        """B x F root mean squared error of the newest slots, NaN where a channel is absent or was never seen."""
        with torch.inference_mode(), one_thread():
            return centred_blocks(self._block_errors, values, np.tile(self._mean, (self.slots, 1)), self.block)

    def _block_errors(self, flat: Floats, squares: Floats) -> Floats:
        missing = missing_of(flat, squares)
        if missing is not None:
            flat[missing] = 0
        shown = torch.from_numpy(flat).to(self._device)
        for weight, bias in self._layers[:-1]:
            shown = nn.functional.gelu(_passed(shown, weight, bias))
        filled: Floats = _passed(shown, *self._layers[-1]).cpu().numpy()
        return rest(flat, filled, self._seen, missing)


def _passed(shown: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """B x outputs. On a CPU numpy multiplies: with few outputs, torch's bits depend on a row's place in its block."""
    if shown.is_cuda:
        return torch.addmm(bias, shown, weight)
    return torch.from_numpy(product(shown.numpy(), weight.numpy())).add_(bias)
