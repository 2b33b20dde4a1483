"""Presets are read whole, and every mistake in them is named."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from restorecli.errors import UsageError
from restorecli.models import resnet, unet
from restorecli.training import config
from restorecli.training.config import PRESETS, TrainConfig, config_from_toml, load_preset


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_presets_are_valid_and_survive_a_round_trip(name: str) -> None:
    preset = load_preset(name)
    assert preset.problems() == []
    assert config_from_toml(preset.to_toml(), "again") == preset


def test_a_typo_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"unknown field data\.crops \(did you mean data\.crop\?\)"):
        config_from_toml("[data]\ncrops = 128\n", "mine.toml")


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        config_from_toml('task = "denoise"\nsteps = 0\n[data]\nbatch = "many"\n[unpaired]\ngan = "wgan"\n', "mine.toml")
    message = str(caught.value)
    for part in ("task must be", "steps must be", "data.batch must be like 8", "unpaired.gan must be"):
        assert part in message


def test_every_field_is_documented() -> None:
    for module in (config, unet, resnet):
        for kind in ast.parse(inspect.getsource(module)).body:
            if not isinstance(kind, ast.ClassDef) or not kind.name.endswith("Config"):
                continue
            sections = {"generator", "resnet", "data", "rendered", "unpaired", "optimiser"}
            for item, after in zip(kind.body, [*kind.body[1:], None], strict=True):
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    assert told or item.target.id in sections, f"{kind.name}.{item.target.id}"


def test_a_length_is_given_once() -> None:
    paper = load_preset("dcd-paper")
    assert paper.epochs == 600
    assert paper.with_overrides(["steps=5"]).epochs == 0
    with pytest.raises(UsageError, match="steps and epochs are both given"):
        paper.with_overrides(["steps=5", "epochs=2"])


def test_fields_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(UsageError, match=r"physics needs architecture unet.*balance is a share of the rendered loss"):
        TrainConfig().with_overrides(
            ["architecture=resnet", "unpaired.physics=true", "unpaired.balance=0.5", "rendered.weight=0"]
        )


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
        "seed=4294967296",
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


def test_what_would_fail_or_do_nothing_later_is_refused() -> None:
    with pytest.raises(UsageError, match=r"multiple of the stride that the levels of unpaired\.degrader make"):
        load_preset("ship-derain").with_overrides(["unpaired.degrader=[8, 8, 8, 8, 8]"])
    with pytest.raises(UsageError, match=r"unpaired\.queue must have room for a whole step's negatives"):
        TrainConfig().with_overrides(["unpaired.queue=64", "unpaired.fresh=32"])
    with pytest.raises(UsageError, match=r"data\.rotate is for rain"):
        TrainConfig().with_overrides(["task=dehaze", "data.rotate=0.25"])


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
