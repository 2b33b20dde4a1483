"""Regular lines over photos."""

from __future__ import annotations

import torch

from restorecli.training.structures import lay_lines


def _seed(value: int) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def test_lines_are_lines_and_come_again_with_the_same_seed() -> None:
    crop = torch.full((3, 96, 96), 0.4)
    changed = 0
    for seed in range(40):
        drawn = lay_lines(crop, _seed(seed))
        assert torch.equal(drawn, lay_lines(crop, _seed(seed)))
        assert drawn.shape == crop.shape and float(drawn.min()) >= 0 and float(drawn.max()) <= 1
        changed += float((drawn - crop).abs().max()) > 0.03
        # Without the shade that may lie over it, what is not covered is the photo as it was.
        assert float(((drawn - crop).abs().amax(0) < 1e-6).float().mean()) > 0.02
    assert changed > 30


def test_most_lines_repeat() -> None:
    """The spectrum of upright bars has a peak that rain, which has no period, has not."""
    peaks = []
    for seed in range(30):
        row = lay_lines(torch.full((3, 64, 256), 0.3), _seed(seed)).mean((0, 1))
        power = torch.fft.rfft(row - row.mean()).abs()[2:] ** 2
        if float(power.sum()) > 1e-4:
            peaks.append(float(power.max() / power.sum()))
    assert sorted(peaks)[len(peaks) // 2] > 0.25
