"""A bounded run of each target."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import fuzz, sound_photos


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "examples"), [("photos", 400), ("safetensors", 120), ("onnx", 60)])
def test_damage_ends_in_an_error_that_says_so(name: str, examples: int, weights_files: dict[str, Path]) -> None:
    sound = sound_photos() if name == "photos" else [weights_files["derain"].with_suffix(f".{name}").read_bytes()]
    fuzz(name, sound, examples)
