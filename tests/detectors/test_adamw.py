"""The optimiser over all weights at once gives the bits of torch's over each layer."""

import numpy as np
import pytest
import torch
from torch import nn

from detectors.adamw import AdamW

STEPS = 40


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(13, 7), nn.GELU(), nn.Linear(7, 3))


def loss(one: nn.Module, step: int) -> torch.Tensor:
    values = torch.from_numpy(np.random.default_rng(step).normal(size=(32, 13)).astype(np.float32))
    return one(values).square().mean()


@pytest.mark.parametrize("rate", [2e-3, 0.1])
def test_it_learns_as_torchs_own_does(rate: float) -> None:
    ours, theirs = net(), net()
    optimizer = AdamW(ours, rate, STEPS)
    other = torch.optim.AdamW(theirs.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(other, STEPS)
    for step in range(STEPS):
        optimizer.gradients.zero_()
        other.zero_grad()
        for one in (ours, theirs):
            loss(one, step).backward()
        optimizer.step()
        other.step()
        schedule.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


def test_weights_of_a_net_stay_its_own_and_can_be_restored() -> None:
    one = net()
    optimizer = AdamW(one, 1e-2, STEPS)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    loss(one, 0).backward()
    optimizer.step()
    assert all(not torch.equal(value, before[name]) for name, value in one.state_dict().items())
    other = net(1)
    other.load_state_dict(one.state_dict())
    assert torch.equal(loss(one, 1), loss(other, 1))


def test_without_gradients_weights_only_decay() -> None:
    one = net()
    before = [weight.detach().clone() for weight in one.parameters()]
    AdamW(one, 0.1, STEPS).step()
    for weight, old in zip(one.parameters(), before, strict=True):
        torch.testing.assert_close(weight.detach(), old * (1 - 0.1 * 1e-3))
