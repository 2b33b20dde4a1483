"""Presets are read whole, and every mistake in them is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from restorecli.errors import UsageError
from restorecli.training.config import PRESETS, TrainConfig, config_from_toml, load_preset


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_presets_are_valid_and_survive_a_round_trip(name: str) -> None:
    config = load_preset(name)
    assert config.problems() == []
    assert config_from_toml(config.to_toml(), "again") == config


def test_a_typo_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"unknown field data\.crops \(did you mean data\.crop\?\)"):
        config_from_toml("[data]\ncrops = 128\n", "mine.toml")


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        config_from_toml('task = "denoise"\nsteps = 0\n[data]\nbatch = "many"\n[unpaired]\ngan = "wgan"\n', "mine.toml")
    message = str(caught.value)
    for part in ("task must be", "steps must be", "data.batch must be like 8", "unpaired.gan must be"):
        assert part in message


def test_overrides_reach_every_section() -> None:
    config = TrainConfig().with_overrides(
        ["steps=7", "generator.widths=[8, 16]", "generator.blocks=[1, 1]", "data.scale=[0.5, 2]", "task=dehaze"]
    )
    assert config.steps == 7 and config.generator.widths == (8, 16)
    assert config.data.scale == (0.5, 2.0) and config.task == "dehaze"


@pytest.mark.parametrize(
    "pair",
    [
        "steps",
        "steps=many",
        "nothing=1",
        "data=3",
        "optimiser.lr=-1",
        "data.scale=[1, 2, 3]",
        "seed=-1",
        "optimiser.beta2=2",
        "unpaired.weight=-1",
        "unpaired.degrader=[]",
    ],
)
def test_bad_overrides_are_refused(pair: str) -> None:
    with pytest.raises(UsageError):
        TrainConfig().with_overrides([pair])


def test_a_section_and_a_value_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="data"):
        TrainConfig().with_overrides(["data=3", "data.crop=64"])


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing is learnt"):
        TrainConfig().with_overrides(["rendered.weight=0", "unpaired.weight=0"])


def test_unknown_presets_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'ship-dehaze'"):
        load_preset("ship-dehase")
    with pytest.raises(UsageError, match="cannot read the preset"):
        load_preset(str(tmp_path / "none.toml"))
    (tmp_path / "broken.toml").write_text("steps = = 3")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_preset(str(tmp_path / "broken.toml"))
