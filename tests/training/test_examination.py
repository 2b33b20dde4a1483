"""Which weights a run keeps: scores with pairs, and statistics without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage import data as photos

from restorecli import Restorer
from restorecli.training import examination
from restorecli.training.config import TrainConfig
from restorecli.training.examination import Unpaired, middles, restore_array
from restorecli.training.loop import train
from restorecli.training.noreference import distance
from restorecli.training.options import Event, Options
from restorecli.weights import load_network, resolve, save_network
from tests.small import narrow_network, noise


def _hazy(photo: np.ndarray, density: float) -> np.ndarray:
    return np.rint(photo * (1 - density) + 230 * density).astype(np.uint8)


def _rainy(photo: np.ndarray, amount: float) -> np.ndarray:
    noise = np.random.default_rng(0).random(photo.shape[:2]).astype(np.float32)
    streaks = np.clip(cv2.blur(noise, (1, 15)) * 6 - 3.2, 0, 1)[..., None] * amount
    return np.rint(photo + streaks * (255 - photo)).astype(np.uint8)


@pytest.mark.parametrize("degrade", [_hazy, _rainy])
def test_the_distance_grows_with_haze_and_rain(degrade) -> None:  # type: ignore[no-untyped-def]
    clear, others = [photos.astronaut(), photos.chelsea()], [photos.coffee(), photos.rocket()]
    distances = [distance([degrade(photo, amount) for photo in clear], others) for amount in (0.0, 0.3, 0.6)]
    assert distances[0] < distances[1] < distances[2]
    assert distance(others, others) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("task", ["derain", "dehaze"])
def test_photos_are_measured_as_the_engine_restores_them(task: str, tmp_path: Path) -> None:
    """In one look; also where their sides are no multiple of the stride: beyond the border is the mirrored photo."""
    weights, photo = tmp_path / "weights.safetensors", noise(77, 101)
    network = narrow_network(task)
    network.config = replace(network.config, overview=0)
    save_network(weights, network, network.descriptor(task))
    engine = Restorer(task, weights=str(weights), backend="torch", precision="fp32", ensemble=1).restore(photo)
    network = load_network(resolve(str(weights), task)).eval()
    measured = restore_array(network, photo, torch.device("cpu"))
    assert int(np.abs(measured.astype(int) - engine).max()) <= 1
    one = restore_array(network, photo[:1, :1], torch.device("cpu"))
    assert one.shape == (1, 1, 3)


def test_of_large_pairs_the_middle_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, sizes = noise(100, 60), []
    cv2.imwrite(str(tmp_path / "a.png"), photo)

    def restored(model: object, given: np.ndarray, *where: object) -> np.ndarray:
        sizes.append(given.shape)
        assert np.array_equal(given[..., ::-1], photo[10:90])
        return given

    monkeypatch.setattr(examination, "VALIDATED", 80)
    monkeypatch.setattr(examination, "restore_array", restored)
    scores = examination.validate(None, [(tmp_path / "a.png",) * 2], torch.device("cpu"), torch.float32)  # type: ignore[arg-type]
    assert sizes == [(80, 60, 3)] and scores["val_psnr"] == 100


def test_better_is_nearer_and_harmless() -> None:
    judge = Unpaired([], [])
    start = {"held_distance": 2.0, "held_clear_psnr": 40.0}
    assert judge.better({"held_distance": 1.8, "held_clear_psnr": 39.8}, start, start)
    assert not judge.better({"held_distance": 1.99, "held_clear_psnr": 40.0}, start, start)
    assert not judge.better({"held_distance": 1.0, "held_clear_psnr": 38.0}, start, start)


@pytest.fixture
def tuning(
    tmp_path: Path,
    small_config: TrainConfig,
    degraded_folder: Path,
    clear_folder: Path,
    start_weights: Path,
) -> Options:
    config = small_config.with_overrides(["unpaired.weight=0", "steps=4", "validate_every=2", "optimiser.warmup=0"])
    start = str(start_weights)
    return Options(
        degraded_folder, clear_folder, tmp_path / "run", config, device="cpu", precision="fp32", workers=0,
        start_from=start,
    )  # fmt: skip


def _quiet(event: Event) -> None:
    pass


def test_starting_weights_are_kept_when_nothing_improved(tuning: Options, start_weights: Path) -> None:
    """The start leaves the validation photos nearly as they are, which are their own targets; training breaks that."""
    broken = tuning.config.with_overrides(["optimiser.lr=0.3", "optimiser.ema=0.0", "optimiser.clip=0"])
    tuning = replace(tuning, config=broken)
    for name, val, words in (("pairs", (tuning.clear, tuning.clear), "dB"), ("blind", None, "without pairs")):
        outcome = train(replace(tuning, run=tuning.run / name, val=val), _quiet)
        assert outcome.report.startswith("nothing improved enough on the starting weights") and words in outcome.report
        start, kept = load_file(start_weights), load_file(outcome.weights)
        assert all(torch.equal(start[key], kept[key]) for key in start)


def test_photos_too_small_to_learn_from_are_not_measured_on(tmp_path: Path) -> None:
    for index, size in enumerate([(1, 1), (2, 2), (4, 4), (15, 40)]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((*size, 3), 90, np.uint8))
    small = sorted(tmp_path.iterdir())
    cv2.imwrite(str(tmp_path / "whole.png"), noise(48, 64))
    assert [middle.shape for middle in middles(sorted(tmp_path.iterdir()))] == [(48, 64, 3)]
    assert middles(small) == []


def test_the_best_of_a_run_is_kept(tuning: Options, tmp_path: Path) -> None:
    """Weights that change every photo, fine-tuned where nothing is to be changed: the last step is not the best."""
    network = narrow_network("derain")
    for folder, source in (("in", tuning.clear), ("out", tuning.clear)):
        (tmp_path / folder).mkdir()
        for path in source.iterdir():
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    more = ["steps=6", "optimiser.lr=0.002", "optimiser.ema=0.0", "data.jpeg=0.0", "data.batch=8"]
    config = tuning.config.with_overrides(more)
    events: list[Event] = []
    tuned = replace(tuning, config=config, val=(tmp_path / "in", tmp_path / "out"))
    outcome = train(tuned, events.append)
    scores = {event.step: event.values["val_psnr_y"] for event in events if event.kind == "validation"}
    assert list(scores) == [0, 2, 4, 6]
    best = max(scores, key=lambda step: scores[step])
    assert best > 0 and f"step {best} of 6" in outcome.report
    kept = load_file(outcome.weights)
    assert all(torch.equal(kept[key], value) for key, value in load_file(tuned.run / "best.safetensors").items())
    assert any(not torch.equal(kept[key], value.half()) for key, value in network.state_dict().items())
