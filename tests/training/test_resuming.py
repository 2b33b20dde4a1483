"""Runs that were killed, whose disk was full, whose checkpoint is another's, and runs of more than one process."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from restorecli.errors import TrainingError
from restorecli.training.config import TrainConfig
from restorecli.training.loop import train
from restorecli.training.options import Event, Options

STRICT = ["rendered.weight=0", "unpaired.start=0", "unpaired.every=1"]
WARM = "unpaired.temperature=1.0"
"""So warm that the contrastive loss of fresh networks says something."""

RUNNER = textwrap.dedent(
    """
    import json, signal, sys
    from pathlib import Path
    import torch
    from restorecli.training.config import config_from_toml
    from restorecli.training.loop import train
    from restorecli.training.options import Options

    # What runs in the background may ignore a Ctrl-C from the start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # As nobody names a device; on a machine with a CUDA device what is compared with would run elsewhere.
    device = "cpu" if torch.cuda.is_available() else "auto"
    for given in json.loads(sys.argv[1]):
        folders = {name: Path(given[name]) for name in ("degraded", "clear", "run")}
        config = config_from_toml(given["config"], "test")
        more = {"device": device, "precision": "fp32", "workers": given["workers"]}
        train(Options(**folders, config=config, **more), lambda event: None)
    """
)


def _quiet(event: Event) -> None:
    pass


def _log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def _process(*runs: Options, **environment: str) -> subprocess.Popen[bytes]:
    """The runs, one after the other, in a process of their own."""
    given = [
        {"config": options.config.to_toml(), "workers": options.workers}
        | {name: str(getattr(options, name)) for name in ("degraded", "clear", "run")}
        for options in runs
    ]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, json.dumps(given)],
        env={**os.environ, **threads, **environment},
        start_new_session=True,
    )


def _world() -> dict[str, str]:
    """What a launcher of two processes tells each of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    # Two processes with two threads each would wait for one another on a machine of two cores.
    return {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", **address}


@pytest.fixture
def options(tmp_path: Path, small_config: TrainConfig, degraded_folder: Path, clear_folder: Path) -> Options:
    return Options(
        degraded_folder, clear_folder, tmp_path / "run", small_config, device="cpu", precision="fp32", workers=0
    )


def test_killed_at_any_step_the_log_goes_on_as_if_nothing_had_happened(options: Options) -> None:
    # Means over three steps and checkpoints every two: what was summed up between them must survive too.
    more = ["steps=16", "log_every=3", "sample_every=100", "method=cdd", "unpaired.queue=12", "unpaired.fresh=4"]
    more += ["unpaired.pool=3", "unpaired.balance=0.5", "unpaired.balance_every=2", "unpaired.decay=0.5"]
    options = replace(options, config=options.config.with_overrides(more))
    broken = replace(options, run=options.run / "broken")
    victim = _process(broken)
    checkpoint = broken.run / "checkpoint" / "last.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.5))
    victim.kill()
    victim.wait()
    assert checkpoint.exists()
    begun: list[Event] = []
    train(broken, begun.append)
    train(replace(options, run=options.run / "unbroken"), _quiet)
    assert _log(broken.run) == _log(options.run / "unbroken"), f"killed, and resumed from step {begun[0].step}"
    # Every player and optimiser, to the bit: what is given back has half of their bits.
    for file in ("checkpoint/last.safetensors", "generator.safetensors"):
        first, second = (load_file(options.run / name / file) for name in ("broken", "unbroken"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), file


def test_of_two_runs_in_one_folder_the_second_is_refused_and_the_first_goes_on_undisturbed(options: Options) -> None:
    refused: list[TrainingError] = []

    def begin_another(event: Event) -> None:
        if event.kind == "pulse" and not refused:
            with pytest.raises(TrainingError, match=r"another run is at work in .*another --out") as caught:
                train(options, _quiet)
            refused.append(caught.value)

    options = replace(options, config=options.config.with_overrides(["steps=3", "log_every=1", "sample_every=100"]))
    train(options, begin_another)
    assert [error.kind for error in refused] == ["occupied"]
    train(replace(options, run=options.run / "undisturbed"), _quiet)
    assert _log(options.run) == _log(options.run / "undisturbed")
    # It is over: the folder is free for more steps.
    assert train(replace(options, config=options.config.with_overrides(["steps=4"])), _quiet).step == 4


def test_two_processes_learn_what_one_with_the_doubled_batch_does(options: Options) -> None:
    config = options.config.with_overrides([*STRICT, "steps=3", "sample_every=100"])
    methods = {
        # What all processes share: earlier photos; negatives of earlier steps, exemplars, and what is drawn.
        "dcd": ["unpaired.pool=2", "unpaired.all_stages=true"],
        "cdd": ["unpaired.queue=20", "unpaired.fresh=4", "unpaired.exemplars=0.5", "unpaired.physics=true", WARM],
    }
    configs = [config.with_overrides([f"method={name}", *more]) for name, more in methods.items()]
    together = [replace(options, config=one, run=options.run / "two" / one.method) for one in configs]
    world = _world()
    ranks = [_process(*together, **world, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    for both in together:
        others = {"one": "unpaired.batch=4", "accumulated": "optimiser.accumulate=2"}
        for name, more in others.items():
            run = options.run / name / both.config.method
            train(replace(both, config=both.config.with_overrides([more]), run=run), _quiet)
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    for both in together:
        doubled = options.run / "one" / both.config.method
        for run in (both.run, options.run / "accumulated" / both.config.method):
            for line, other in zip(_log(run), _log(doubled), strict=True):
                assert line == pytest.approx(other, rel=1e-4, abs=5e-6)
            first, second = (load_file(folder / "generator.safetensors") for folder in (run, doubled))
            assert all(torch.allclose(first[key], second[key], atol=5e-4) for key in first)
    # Two processes may become one that accumulates, as the groups of a step are the same; one group fewer is refused.
    alone = replace(together[0], config=together[0].config.with_overrides(["steps=4"]))
    with pytest.raises(TrainingError, match="2 groups of crops a step, not 1"):
        train(alone, _quiet)
    train(replace(alone, config=alone.config.with_overrides(["optimiser.accumulate=2"])), _quiet)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no Ctrl-C to send to a group")
@pytest.mark.parametrize(("count", "number"), [(1, signal.SIGINT), (1, signal.SIGTERM), (2, signal.SIGTERM)])
def test_a_ctrl_c_that_all_processes_get_keeps_what_was_learnt(
    count: int, number: signal.Signals, options: Options
) -> None:
    """Those that make batches too, and twice where a launcher passes on what the terminal sent already."""
    # Steps that take longer than the launcher does.
    more = ["steps=100000", "checkpoint_every=100000", "log_every=1", "unpaired.weight=0", "data.batch=64"]
    config = options.config.with_overrides(more)
    endless = replace(options, config=config, workers=1)
    world = _world() if count > 1 else {}
    own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if world else {} for rank in range(count)]
    ranks = [_process(endless, **world, **each) for each in own]
    log, deadline = endless.run / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and len(_log(endless.run)) > 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    for _ in range(count):
        for rank in ranks:
            os.killpg(rank.pid, number)
        time.sleep(0.05)
    assert [rank.wait(timeout=60) for rank in ranks] == [-signal.SIGINT] * count
    with safe_open(endless.run / "checkpoint" / "last.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["facts"])["step"] > 2


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(options: Options) -> None:
    resource = pytest.importorskip("resource")
    options = replace(options, config=options.config.with_overrides(["unpaired.weight=0", "checkpoint_every=1"]))

    def fill(event: Event) -> None:
        # From now on no file may grow beyond a few bytes: what a full disk says, without one.
        if event.kind == "step" and event.step == 3:
            size = (options.run / "checkpoint" / "last.safetensors").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(TrainingError, match="the last"):
            train(options, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    begun: list[Event] = []
    assert train(options, begun.append).finished
    assert begun[0].step == 2


def test_a_checkpoint_of_a_newer_version_is_refused(options: Options) -> None:
    train(options, _quiet)
    path = options.run / "checkpoint" / "last.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    newer = {**metadata, "format": "restorecli-checkpoint-99"}
    newer["facts"] = json.dumps({**json.loads(metadata["facts"]), "version": "99.1"})
    save_file(load_file(path), path, newer)
    with pytest.raises(TrainingError, match=r"newer version of restorecli \(99\.1\)"):
        train(options, _quiet)


def test_pairs_to_measure_on_are_there_from_the_start_or_not_at_all(options: Options, start_weights: Path) -> None:
    options = replace(options, config=options.config.with_overrides(["unpaired.weight=0", "steps=1"]))
    blind = replace(options, start_from=str(start_weights))
    paired = replace(blind, run=options.run.parent / "paired", val=(options.clear, options.clear))
    for run, other, words in ((blind, paired.val, "a run without --val"), (paired, None, "a run with --val")):
        train(run, _quiet)
        with pytest.raises(TrainingError, match=words):
            train(replace(run, val=other), _quiet)
    # From nothing no photo is held out, so scores may be asked for later.
    fresh = replace(options, run=options.run.parent / "fresh")
    train(fresh, _quiet)
    train(replace(fresh, val=(options.clear, options.clear)), _quiet)


def test_other_weights_to_start_from_are_noticed(options: Options, start_weights: Path) -> None:
    options = replace(options, config=options.config.with_overrides(["unpaired.weight=0", "steps=1"]))
    tuned = replace(options, start_from=str(start_weights))
    train(tuned, _quiet)
    with pytest.raises(TrainingError, match="another configuration"):
        train(options, _quiet)
    changed = options.run.parent / "other.safetensors"
    tensors = {name: value + 0.01 for name, value in load_file(start_weights).items()}
    with safe_open(start_weights, "pt") as file:
        save_file(tensors, changed, file.metadata())
    with pytest.raises(TrainingError, match="give the same --from as before"):
        train(replace(tuned, start_from=str(changed)), _quiet)
