"""Sizes, times and counts as people write them."""

from __future__ import annotations

import pytest

from restorecli.cli import quantities
from restorecli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5GiB", 3 * 2**29), ("800M", 8 * 10**8), ("1500 mb", 15 * 10**8), ("1024", 1024)],
)
def test_memory(text: str, size: int) -> None:
    assert quantities.memory(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2 apples", "0", "1e9", "2GB2"])
def test_memory_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="--max-memory"):
        quantities.memory(text)


@pytest.mark.parametrize(("text", "pixels"), [("50MP", 50_000_000), ("0.5mp", 500_000), ("123", 123)])
def test_pixels(text: str, pixels: int) -> None:
    assert quantities.pixels(text) == pixels


@pytest.mark.parametrize(
    ("text", "seconds"), [("150m", 9000), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("0.5h", 1800)]
)
def test_duration(text: str, seconds: float) -> None:
    assert quantities.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "150", "h", "2 h", "2d", "2h x"])
def test_duration_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="--time-limit"):
        quantities.duration(text)


def test_count_or_auto() -> None:
    assert quantities.count_or_auto("auto", "--tile") is None
    assert quantities.count_or_auto("512", "--tile") == 512
    for text in ("0", "-3", "3x", "", "²"):
        with pytest.raises(UsageError, match="--tile"):
            quantities.count_or_auto(text, "--tile")


def test_numbers_that_nobody_means_are_refused() -> None:
    endless = "9" * 5000
    for read in (quantities.memory, quantities.pixels, quantities.duration, quantities.quality_or_same):
        with pytest.raises(UsageError):
            read(endless)
    with pytest.raises(UsageError):
        quantities.count_or_auto(endless, "--tile")
