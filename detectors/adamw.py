"""How the weights of a small network learn."""

import math

import torch
from torch import nn

_DECAY, _FIRST, _SECOND, _TINY = 1e-3, 0.9, 0.999, 1e-8
"""Weight decay; how much of the gradients' mean and mean square stays a step; what keeps a divisor from 0."""


class AdamW:
    """AdamW (Loshchilov and Hutter 2019) with a cosine rate from `rate` to 0 in `steps`, over all of a net's weights at
    once. torch's own goes layer by layer, and imports its compiler first, which takes longer than a small fit."""

    def __init__(self, net: nn.Module, rate: float, steps: int) -> None:
        weights = list(net.parameters())
        self._rate, self._steps, self._done = rate, steps, 0
        self._weights = torch.cat([weight.detach().flatten() for weight in weights])
        self.gradients = torch.zeros_like(self._weights)
        self._mean, self._square = torch.zeros_like(self._weights), torch.zeros_like(self._weights)
        sizes = [weight.numel() for weight in weights]
        parts = zip(weights, torch.split(self._weights, sizes), torch.split(self.gradients, sizes), strict=True)
        for weight, values, gradients in parts:  # the net's own are views from now on
            weight.data, weight.grad = values.view_as(weight), gradients.view_as(weight)

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights along what `backward` has added to `gradients`."""
        rate = self._rate * (1 + math.cos(math.pi * self._done / self._steps)) / 2
        self._done += 1
        self._weights.mul_(1 - rate * _DECAY)
        self._mean.lerp_(self.gradients, 1 - _FIRST)
        self._square.mul_(_SECOND).addcmul_(self.gradients, self.gradients, value=1 - _SECOND)
        scale = self._square.sqrt().div_(math.sqrt(1 - _SECOND**self._done)).add_(_TINY)
        self._weights.addcdiv_(self._mean, scale, value=-rate / (1 - _FIRST**self._done))
