"""Weights that follow from gradients."""

from __future__ import annotations

import pytest
import torch

from restorecli.training.balance import Balance
from restorecli.training.processes import Processes


def test_the_unpaired_gradient_gets_its_share() -> None:
    parameter = torch.tensor([1.0, 2.0], requires_grad=True)
    balance = Balance(0.25, 3)
    assert [balance.due(number) for number in (0, 1, 3)] == [True, True, True] and balance.weight == 0
    # Gradients of norm 3 sqrt 2 and 60 sqrt 2.
    balance.measure((3 * parameter).sum(), (60 * parameter).sum(), [parameter], Processes())
    assert balance.weight == pytest.approx(0.25 * 3 / 60)
    assert [balance.due(number) for number in (1, 3)] == [False, True]
    # A moving average of either norm, not of the weight.
    balance.measure((3 * parameter).sum(), (30 * parameter).sum(), [parameter], Processes())
    assert balance.weight == pytest.approx(0.25 * 3 / (0.9 * 60 + 0.1 * 30))
    balance.measure((3 * parameter).sum(), (0 * parameter).sum(), [parameter], Processes())
    assert balance.weight == pytest.approx(0.25 * 3 / 57)
    assert not Balance(0.0, 1).due(0)
