"""Runs of a few steps: resuming, stopping, and stopping rather than going wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from restorecli.errors import BackendError, PhotoError, TrainingError
from restorecli.models.resnet import ResNet
from restorecli.training import estimate, loop, occupied
from restorecli.training import step as stepping
from restorecli.training.checkpoint import save_checkpoint
from restorecli.training.config import TrainConfig, load_preset
from restorecli.training.cyclegan import CycleGAN
from restorecli.training.estimate import describe
from restorecli.training.examination import Paired, Unpaired
from restorecli.training.loop import train
from restorecli.training.options import Event, Options
from restorecli.training.step import rate
from restorecli.weights import load_network, resolve


@pytest.fixture
def options(tmp_path: Path, small_config: TrainConfig, degraded_folder: Path, clear_folder: Path) -> Options:
    return Options(
        degraded_folder, clear_folder, tmp_path / "run", small_config, device="cpu", precision="fp32", workers=0
    )


def _quiet(event: Event) -> None:
    pass


def _log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_the_contract_names(options: Options) -> None:
    options = replace(options, val=(options.clear, options.clear))
    events: list[Event] = []
    outcome = train(options, events.append)
    assert outcome.finished and outcome.step == 6
    for name in (
        "config.toml",
        "log.jsonl",
        "generator.safetensors",
        "best.safetensors",
        "checkpoint/last.safetensors",
    ):
        assert (options.run / name).is_file(), name
    assert outcome.report.startswith("best at step")
    speed = [json.loads(line) for line in (options.run / "speed.jsonl").read_text().splitlines()]
    assert len(speed) == 6 and all(0 <= line["waiting"] <= 1 and line["photos_per_second"] > 0 for line in speed)
    written = EventAccumulator(str(options.run / "events")).Reload()
    assert {"rendered", "cycle", "val_psnr", "speed/waiting"} <= set(written.Tags()["scalars"])
    assert [event.step for event in written.Images("samples")] == [3, 6]
    assert len(list((options.run / "samples").glob("*.png"))) == 2
    assert {event.kind for event in events} == {"start", "pulse", "step", "validation", "checkpoint", "stop"}
    lines = _log(options.run)
    assert [line["step"] for line in lines if "rendered" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "cycle" in line] == [3, 5]
    assert [line["step"] for line in lines if "val_psnr" in line] == [4, 6]


@pytest.mark.parametrize("method", ["cdd", "dcd"])
def test_a_resumed_run_logs_what_an_unbroken_one_does(options: Options, method: str) -> None:
    options = replace(options, config=options.config.with_overrides([f"method={method}"]))
    train(replace(options, run=options.run / "unbroken"), _quiet)

    def stop_at_five(event: Event) -> None:
        if event.kind == "step" and event.step == 5:
            raise KeyError("killed")

    broken = replace(options, run=options.run / "broken")
    # No clean end: the last checkpoint is of step 4, and the log knows more than it.
    with pytest.raises(KeyError):
        train(broken, stop_at_five)
    assert _log(broken.run)[-1]["step"] == 5
    train(broken, _quiet)
    assert _log(broken.run) == _log(options.run / "unbroken")
    first, second = (load_file(run / "generator.safetensors") for run in (broken.run, options.run / "unbroken"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_time_limit_stops_with_a_checkpoint_and_the_same_command_goes_on(options: Options) -> None:
    outcome = train(replace(options, time_limit=0.0), _quiet)
    assert outcome.step == 0 and not outcome.finished
    assert train(options, _quiet).finished


def test_interrupt_keeps_what_was_learnt(options: Options) -> None:
    def interrupt(event: Event) -> None:
        if event.kind == "step" and event.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options, interrupt)
    events: list[Event] = []
    train(options, events.append)
    assert events[0].kind == "start" and events[0].step == 3


def test_more_steps_extend_a_finished_run(options: Options) -> None:
    train(options, _quiet)
    longer = replace(options, config=options.config.with_overrides(["steps=8"]))
    assert train(longer, _quiet).step == 8


def test_fewer_steps_than_were_made_are_refused(options: Options) -> None:
    train(options, _quiet)
    before = (options.run / "config.toml").read_text()
    shorter = replace(options, config=options.config.with_overrides(["steps=4"]))
    with pytest.raises(TrainingError, match=r"has 6 steps, more than the 4 asked for"):
        train(shorter, _quiet)
    assert (options.run / "config.toml").read_text() == before


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    genuine = stepping.rendered_loss

    def breaking(*args: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return genuine(*args) * (float("nan") if calls == 5 else 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr(stepping, "rendered_loss", breaking)
    with pytest.raises(TrainingError, match="not finite") as caught:
        train(options, _quiet)
    assert caught.value.exit_code == 5 and "rendered" in str(caught.value)
    monkeypatch.undo()
    events: list[Event] = []
    assert train(options, events.append).finished
    assert events[0].step == 4


def test_another_configuration_is_refused_and_named(options: Options) -> None:
    train(options, _quiet)
    other = replace(options, config=options.config.with_overrides(["optimiser.lr=0.001", "steps=9"]))
    with pytest.raises(TrainingError, match=r"another configuration \(optimiser\.lr changed\)"):
        train(other, _quiet)


def test_a_broken_checkpoint_is_named(options: Options) -> None:
    train(options, _quiet)
    (options.run / "checkpoint" / "last.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        train(options, _quiet)


def test_finetuning_starts_from_the_weights(options: Options) -> None:
    train(options, _quiet)
    weights = options.run / "generator.safetensors"
    tuned = replace(options, run=options.run.parent / "tuned", start_from=str(weights), time_limit=0.0)
    train(tuned, _quiet)
    before, after = load_file(weights), load_file(tuned.run / "generator.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    # The weights' shape counts, not the preset's.
    wider = options.config.with_overrides(["generator.widths=[8, 12, 24]"])
    train(replace(tuned, config=wider, run=options.run.parent / "wider"), _quiet)
    assert "widths = [8, 12, 16]" in (options.run.parent / "wider" / "config.toml").read_text()


def test_unpaired_alone_learns(options: Options) -> None:
    strict = ["rendered.weight=0", "unpaired.start=0", "unpaired.every=1", "steps=2"]
    assert train(replace(options, config=options.config.with_overrides(strict)), _quiet).finished
    assert all("cycle" in line and "rendered" not in line for line in _log(options.run))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_narrow_precisions_train_and_resume(options: Options, precision: str) -> None:
    options = replace(options, precision=precision)
    for run, steps in (("broken", 4), ("broken", 6), ("unbroken", 6)):
        config = options.config.with_overrides([f"steps={steps}", "optimiser.decay=0", "optimiser.warmup=0"])
        assert train(replace(options, config=config, run=options.run / run), _quiet).finished
    assert _log(options.run / "broken") == _log(options.run / "unbroken")


def test_the_papers_generators_train(options: Options) -> None:
    """Narrow ones; all else as published."""
    narrow = ["resnet.width=4", "resnet.thumbnail=32", "unpaired.discriminator=4", "unpaired.patches=16"]
    small = ["data.resize=64", "data.crop=48", "steps=2", "log_every=1", *narrow]
    for preset, task in (("dcd-paper", "derain"), ("cdd-paper", "dehaze")):
        config = load_preset(preset).with_overrides(small)
        outcome = train(replace(options, config=config, run=options.run / preset), _quiet)
        resolved = resolve(str(outcome.weights), task)
        assert isinstance(load_network(resolved), ResNet)
        assert set(_log(options.run / preset)[0]) >= {"d", "gan", "cycle", "identity", "contrast"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: on a CPU, see benchmarks/throughput.py")
@pytest.mark.parametrize(("preset", "task"), [("dcd-paper", "derain"), ("cdd-paper", "dehaze")])
def test_the_papers_sizes_train_on_a_gpu(options: Options, preset: str, task: str) -> None:
    config = load_preset(preset).with_overrides(["steps=2", "log_every=1"])
    outcome = train(replace(options, config=config, device="cuda"), _quiet)
    assert config.data.crop == 256 and config.resnet.width == 64 and config.resnet.blocks == 9
    assert isinstance(load_network(resolve(str(outcome.weights), task)), ResNet)
    assert [line["step"] for line in _log(options.run)] == [1, 2]


def test_devices_and_precisions_that_are_not_there(options: Options) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="cuda is not available"):
            train(replace(options, device="cuda"), _quiet)
    with pytest.raises(BackendError, match="not in int8"):
        train(replace(options, precision="int8"), _quiet)


def test_without_a_compiler_one_line_says_so(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def refused(*_: object) -> None:
        raise TorchDynamoException("InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr("restorecli.training.loop.compile_players", lambda players: None)
    monkeypatch.setattr("restorecli.training.loop.take_step", refused)
    with pytest.raises(BackendError, match=r"finds none: install g\+\+, or leave --compile out$"):
        train(replace(options, compile=True), _quiet)


def test_the_rate_warms_up_stays_and_decays() -> None:
    config = TrainConfig().with_overrides(["steps=100", "optimiser.warmup=10", "optimiser.decay=0.5"])
    assert rate(config, 0) == pytest.approx(0.1)
    assert rate(config, 30) == 1
    assert rate(config, 75) == pytest.approx(0.5)
    assert rate(config, 99) == pytest.approx(0.02)


def test_describe_names_the_players_and_writes_nothing(options: Options) -> None:
    text = describe(options)
    assert "restorer" in text and "judge_clear" in text and "[unpaired]" in text
    assert "# memory: about" in text and "# time: about" in text
    assert not options.run.exists()


@pytest.mark.parametrize(
    "more",
    [
        ["optimiser.accumulate=2"],
        ["unpaired.pool=4"],
        ["unpaired.scales=3", "data.crop=128"],
        ["architecture=resnet", "resnet.width=8", "resnet.blocks=6", "unpaired.scales=2", "data.crop=64"],
    ],
)
def test_describe_measures_what_the_run_would_do(options: Options, more: list[str]) -> None:
    text = describe(replace(options, config=options.config.with_overrides(more)))
    assert "# memory: about" in text and "# time: about" in text


def test_describe_counts_transplants(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    genuine = estimate.take_step

    def watched(config, step, groups, players, *rest):  # type: ignore[no-untyped-def]
        seen.append(players.branch.transplants)
        return genuine(config, step, groups, players, *rest)

    monkeypatch.setattr(estimate, "take_step", watched)
    for weight in (0, 5):
        describe(replace(options, config=options.config.with_overrides([f"unpaired.transplant={weight}"])))
        assert set(seen) == {weight > 0}
        seen.clear()


def test_a_run_that_ends_before_its_unpaired_stage_says_so(options: Options) -> None:
    config = options.config.with_overrides(["steps=3", "unpaired.start=3", "unpaired.weight=0.1"])
    expected = "unpaired.start is 3, and the run has 3 steps, so nothing is learnt from degraded photos"
    assert f"# warning: {expected}" in describe(replace(options, config=config))
    told: list[str] = []
    train(
        replace(options, config=config), lambda event: told.append(event.message) if event.kind == "warning" else None
    )
    assert any(expected in text for text in told)
    assert not config.with_overrides(["unpaired.start=2"]).warnings()
    assert not config.with_overrides(["unpaired.weight=0"]).warnings()
    late = config.with_overrides(["unpaired.start=0", "unpaired.transplant_start=5", "unpaired.transplant=1"])
    assert "no rain is transplanted" in late.warnings()[0]


@pytest.mark.parametrize(("every", "expected"), [(16, 250 * 7 + 39750), (1, 4000 * 7 + 36000)])
def test_every_step_is_counted_as_what_it_is(
    options: Options, monkeypatch: pytest.MonkeyPatch, every: int, expected: int
) -> None:
    more = ["steps=40000", "unpaired.start=36000", f"unpaired.every={every}"]
    monkeypatch.setattr(estimate, "_measure", lambda *_: (0.0, {True: 7.0, False: 1.0}))
    text = describe(replace(options, config=options.config.with_overrides(more)))
    assert f"{expected / 3600:.1f} hours for 40000 steps" in text


def test_a_folder_that_cannot_be_made_is_an_error_of_training(options: Options) -> None:
    options.run.write_bytes(b"a file")
    with pytest.raises(TrainingError, match="choose another --out"):
        train(options, _quiet)


def test_a_full_disk_leaves_the_last_checkpoint(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    from restorecli.training import checkpoint

    saves = 0
    genuine = checkpoint.write_bytes_atomic

    def full(data: bytes, path: Path, *, overwrite: bool) -> None:
        nonlocal saves
        saves += 1
        if saves == 3:
            raise PhotoError(f"{path}: the disk is full", kind="disk_full")
        genuine(data, path, overwrite=overwrite)

    monkeypatch.setattr(checkpoint, "write_bytes_atomic", full)
    with pytest.raises(TrainingError, match="the disk is full; the last one is intact"):
        train(options, _quiet)
    monkeypatch.undo()
    events: list[Event] = []
    assert train(options, events.append).finished
    assert events[0].step == 4


def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the restorer's own, whose loss is looked at, but that of a player beside it."""
    genuine = CycleGAN.update

    def poisoned(branch: CycleGAN, weight: float) -> None:
        next(branch.degrader.parameters()).grad = torch.full_like(next(branch.degrader.parameters()), float("nan"))
        genuine(branch, weight)

    monkeypatch.setattr(CycleGAN, "update", poisoned)
    options = replace(options, config=options.config.with_overrides(["checkpoint_every=1", "method=cyclegan"]))
    with pytest.raises(TrainingError, match="gradient of the degrading generator and heads is not finite"):
        train(options, _quiet)
    tensors = load_file(options.run / "checkpoint" / "last.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())


def test_a_run_killed_before_its_first_checkpoint_starts_again(options: Options) -> None:
    _killed_at_its_first_step(options)
    assert train(options, _quiet).finished
    assert [line["step"] for line in _log(options.run) if "rendered" in line] == [1, 2, 3, 4, 5, 6]


def test_a_fine_tuning_killed_before_its_first_checkpoint_measures_its_start_once(
    options: Options, start_weights: Path
) -> None:
    options = replace(options, start_from=str(start_weights))
    _killed_at_its_first_step(options)
    assert train(options, _quiet).finished
    assert [line["step"] for line in _log(options.run) if "rendered" not in line] == [0, 4, 6]


def _killed_at_its_first_step(options: Options) -> None:
    def kill(event: Event) -> None:
        if event.kind == "step":
            raise KeyError("killed")

    with pytest.raises(KeyError):
        train(options, kill)


def test_weights_name_no_folder_of_this_machine(options: Options, tmp_path: Path) -> None:
    for name in ("rgb", "depth"):
        folder = tmp_path / "private" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.png"), np.full((64, 64, 3), 90, np.uint8))
    config = options.config.with_overrides(["task=dehaze", f"data.rgbd={tmp_path / 'private'}", "steps=1"])
    train(replace(options, config=config), _quiet)
    assert str(tmp_path).encode() not in (options.run / "generator.safetensors").read_bytes()


def test_validation_pairs_are_looked_at_before_the_first_step(options: Options, tmp_path: Path) -> None:
    for name, size in (("in", 40), ("out", 48)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), np.zeros((size, size, 3), np.uint8))
    with pytest.raises(TrainingError, match="different sizes"):
        train(replace(options, val=(tmp_path / "in", tmp_path / "out")), _quiet)
    (tmp_path / "out" / "1.png").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="cannot validate"):
        describe(replace(options, val=(tmp_path / "in", tmp_path / "out")))


def test_what_cannot_be_written_is_an_error_of_training(options: Options) -> None:
    options.run.mkdir()
    (options.run / "samples").write_bytes(b"a file")
    with pytest.raises(TrainingError, match="cannot go on"):
        train(options, _quiet)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_wait_for_the_step(number: signal.Signals, options: Options) -> None:
    def interrupt(event: Event) -> None:
        if event.kind == "step" and event.step == 3:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(options, interrupt)
    events: list[Event] = []
    train(options, events.append)
    assert events[0].step == 3
    assert signal.getsignal(number) is before


def test_a_signal_during_the_last_checkpoint_does_not_cost_it(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        save_checkpoint(*arguments)

    options = replace(options, config=options.config.with_overrides(["checkpoint_every=1000"]))
    monkeypatch.setattr(loop, "save_checkpoint", interrupted)
    assert train(options, _quiet).finished


def test_what_ends_a_run_between_steps_costs_none(options: Options) -> None:
    def close(event: Event) -> None:
        if event.kind == "step" and event.step == 3:
            raise BrokenPipeError("nobody reads on")

    options = replace(options, config=options.config.with_overrides(["checkpoint_every=1000"]))
    with pytest.raises(TrainingError, match="nobody reads on"):
        train(options, close)
    events: list[Event] = []
    train(options, events.append)
    assert events[0].step == 3


def test_a_worker_that_dies_is_told_of_with_a_remedy(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def died(*arguments: Any) -> Iterator[Any]:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
        yield

    monkeypatch.setattr(loop, "batches", died)
    with pytest.raises(TrainingError, match="fewer --workers") as caught:
        train(options, _quiet)
    assert caught.value.kind == "workers"
    assert not (options.run / "checkpoint" / "last.safetensors").exists(), "nothing was learnt yet"


def test_a_disk_without_locks_is_no_obstacle(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(occupied.FileLock, "acquire", refused)
    assert train(options, _quiet).finished


def test_a_second_ctrl_c_keeps_no_half_step(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is then the one before: a discriminator has learnt from photos that no generator has answered."""
    taken = 0
    oppose = CycleGAN.oppose

    def twice(self: CycleGAN, *args: object) -> dict[str, float]:
        nonlocal taken
        values = oppose(self, *args)  # type: ignore[arg-type]
        taken += 1
        if taken == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return values

    unbroken = replace(options, run=options.run.parent / "unbroken")
    train(unbroken, _quiet)
    # Unpaired steps are the third and the fifth; checkpoints follow the second and the fourth.
    monkeypatch.setattr(CycleGAN, "oppose", twice)
    with pytest.raises(KeyboardInterrupt):
        train(options, _quiet)
    events: list[Event] = []
    train(options, events.append)
    assert events[0].step == 4
    first, second = (load_file(run / "checkpoint" / "last.safetensors") for run in (options.run, unbroken.run))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_second_ctrl_c_puts_a_validation_off(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(options, val=(options.clear, options.clear))
    unbroken = replace(options, run=options.run.parent / "unbroken")
    train(unbroken, _quiet)
    with monkeypatch.context() as patch:
        patch.setattr(Paired, "measure", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(options, _quiet)
    events: list[Event] = []
    train(options, events.append)
    assert events[0].step == 4
    assert _log(options.run) == _log(unbroken.run)


def test_a_second_ctrl_c_before_the_start_is_measured_keeps_nothing(
    options: Options, start_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, start_from=str(start_weights))
    with monkeypatch.context() as patch:
        patch.setattr(Unpaired, "measure", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(options, _quiet)
    assert not (options.run / "checkpoint" / "last.safetensors").exists()
    assert train(options, _quiet).finished


def _interrupted(*args: object) -> None:
    raise KeyboardInterrupt


def test_one_process_renders_beside_the_steps_where_there_is_a_core_for_it(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(options, workers=None)
    for cores, cpu, cuda in ((1, 0, 1), (4, 1, 4), (64, 1, 8)):
        monkeypatch.setattr(loop, "usable_cores", lambda cores=cores: cores)
        assert loop._workers(asked, torch.device("cpu")) == cpu
        assert loop._workers(asked, torch.device("cuda")) == cuda
    assert loop._workers(replace(options, workers=3), torch.device("cpu")) == 3


def test_a_device_whose_memory_runs_out_is_a_training_error(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "take_step", full)
    monkeypatch.setattr(estimate, "take_step", full)
    for run in (lambda: train(options, _quiet), lambda: describe(options)):
        with pytest.raises(TrainingError, match="use a smaller --batch or --crop") as caught:
            run()
        assert caught.value.exit_code == 5


def test_a_dry_run_takes_its_crops_to_the_device(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    genuine = estimate.moved
    monkeypatch.setattr(estimate, "moved", lambda batch, device: taken.append(device) or genuine(batch, device))
    describe(options)
    assert taken == [torch.device("cpu")]


def test_fp32_is_no_tf32(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    genuine = loop.take_step

    def looking(*arguments: Any) -> dict[str, float]:
        seen.append(torch.backends.cudnn.allow_tf32)
        return genuine(*arguments)

    monkeypatch.setattr(loop, "take_step", looking)
    train(options, _quiet)
    assert seen and not any(seen) and torch.backends.cudnn.allow_tf32, "as it was, afterwards"
