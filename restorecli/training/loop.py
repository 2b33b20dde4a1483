"""The training loop, in reading order."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restorecli import __version__
from restorecli.errors import BackendError, PhotoError, TrainingError, UsageError
from restorecli.hardware import cpu_has_fast_bf16, flushed_denormals, usable_cores
from restorecli.metrics import psnr, psnr_y
from restorecli.models.unet import UNet
from restorecli.pairs import pair_folders
from restorecli.photo import write_bytes_atomic
from restorecli.photo.atomic import remove_remains
from restorecli.training.checkpoint import read_checkpoint, restore_modules, save_checkpoint
from restorecli.training.config import TrainConfig, config_from_toml, flat
from restorecli.training.cyclegan import CycleGAN, placed
from restorecli.training.data import Batch, Batches, as_tensor, batches, read_rgb, training_photos, unpaired_step
from restorecli.training.losses import rendered_loss
from restorecli.training.methods import build_branch
from restorecli.weights import load_network, resolve, save_network

FREE_TO_CHANGE = ("steps", "log_every", "checkpoint_every", "sample_every", "validate_every")
"""Fields that a run may be resumed with other values of: they change how long and how often, not what is learnt."""


@dataclass(frozen=True)
class Options:
    """One run: what to learn from, where to put it, and on what to run it."""

    degraded: Path
    """Folder of hazy or rainy photos."""
    clear: Path
    """Folder of clear photos of other scenes."""
    run: Path
    """Folder of the run; resumed when it holds a checkpoint."""
    config: TrainConfig
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    """Processes that make batches; None chooses: none on a CPU that the step needs itself, else up to 8."""
    val: tuple[Path, Path] | None = None
    """Paired folders (input, target) for scores only."""
    time_limit: float | None = None
    """Seconds after which the run stops with a checkpoint."""
    start_from: str | None = None
    """Weights (name or file) that a new run starts from: fine-tuning."""


@dataclass(frozen=True)
class Event:
    """Something to tell: ``kind`` is start, step, validation, checkpoint or stop."""

    kind: str
    step: int
    steps: int
    message: str = ""
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    """Steps done in all."""
    finished: bool
    """Whether that is all of them."""
    weights: Path
    """The EMA weights, usable as ``--weights``."""


def train(options: Options, on_event: Callable[[Event], None]) -> Outcome:
    """Train, or resume, until the steps are done or the time is over.

    Raises :class:`TrainingError` when the run cannot start or go on (its last checkpoint is then as it was),
    :class:`BackendError` when the device or precision is not there, :class:`WeightsError` when the weights to
    fine-tune cannot be had. :class:`KeyboardInterrupt` comes after the step that it fell into and a checkpoint.
    """
    try:
        return _train(options, on_event)
    except (PhotoError, OSError) as error:
        raise TrainingError(f"cannot go on: {error}; the last checkpoint is intact", kind="unwritable") from error


def _train(options: Options, on_event: Callable[[Event], None]) -> Outcome:
    began = time.monotonic()
    torch.manual_seed(options.config.seed)
    options, restorer = _with_start(options)
    config = options.config
    device, dtype = choose_device(options.device), choose_dtype(options)
    data, pairs = _open_data(options)
    _make_folder(options.run)
    for folder in (options.run, options.run / "checkpoint", options.run / "samples"):
        remove_remains(folder)
    checkpoint = options.run / "checkpoint" / "last.safetensors"

    # The players: the generator that restores, its moving average, and the unpaired branch from its first step on.
    restorer = placed(restorer.train(), device)
    average = copy.deepcopy(restorer).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        restorer.parameters(), lr=config.optimiser.lr, betas=(0.9, config.optimiser.beta2), weight_decay=0.0
    )
    branch: CycleGAN | None = None
    step = 0
    if checkpoint.exists():
        tensors, facts = read_checkpoint(checkpoint)
        _refuse_other_config(config, facts, checkpoint)
        step = int(str(facts["step"]))
        if facts["branch"]:
            branch = build_branch(config, restorer, device)
        restore_modules(tensors, *_players(restorer, average, optimiser, branch))
        del tensors
    write_bytes_atomic(config.to_toml().encode(), options.run / "config.toml", overwrite=True)
    log = _open_log(options.run / "log.jsonl", step)
    on_event(Event("start", step, config.steps, f"{device.type}, {_name(dtype)}, {data.summary()}"))

    def save() -> None:
        modules, optimisers = _players(restorer, average, optimiser, branch)
        facts = {"step": step, "branch": branch is not None, "config": config.to_toml(), "version": __version__}
        save_checkpoint(checkpoint, modules, optimisers, facts)
        # Weights are passed on to others, whom this machine's folders do not concern.
        public = replace(config, data=replace(config.data, rgbd=Path(config.data.rgbd).name))
        extra = {"preset": public.to_toml(), "steps": str(step), "version": __version__, "data": _data(options, data)}
        save_network(options.run / "generator.safetensors", average, average.descriptor(config.task), extra)
        on_event(Event("checkpoint", step, config.steps, str(checkpoint)))

    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    interrupted, restore_interrupts = _defer_interrupts()
    try:
        for batch in _moved(batches(data, step, _workers(options, device), device), device):
            if options.time_limit is not None and time.monotonic() - began > options.time_limit:
                break
            if interrupted():
                raise KeyboardInterrupt
            if branch is None and unpaired_step(config, step):
                branch = build_branch(config, restorer, device)
            for group in optimiser.param_groups:
                group["lr"] = config.optimiser.lr * rate(config, step)

            with flushed_denormals():
                values = _step(config, step, batch, restorer, optimiser, branch, dtype)
            step += 1
            _follow(average, restorer, min(config.optimiser.ema, step / (step + 10)))

            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + 1
            if step % config.log_every == 0 or step == config.steps:
                means = {name: sums[name] / counts[name] for name in sums}
                log.write(json.dumps({"step": step, **{name: round(value, 6) for name, value in means.items()}}) + "\n")
                log.flush()
                sums, counts = {}, {}
                on_event(Event("step", step, config.steps, values=means))
            if step % config.sample_every == 0 or step == config.steps:
                _sample_sheet(options.run / "samples" / f"{step:07d}.png", average, batch, data, device)
            if pairs and (step % config.validate_every == 0 or step == config.steps):
                scores = validate(average, pairs, device, dtype)
                log.write(
                    json.dumps({"step": step, **{name: round(value, 4) for name, value in scores.items()}}) + "\n"
                )
                on_event(Event("validation", step, config.steps, values=scores))
            # The last step's checkpoint is the one below.
            if step % config.checkpoint_every == 0 and step < config.steps:
                save()
    except KeyboardInterrupt:
        save()
        raise
    finally:
        restore_interrupts()
        log.close()
    save()
    finished = step >= config.steps
    on_event(Event("stop", step, config.steps, "done" if finished else "time limit: run the same command to go on"))
    return Outcome(step, finished, options.run / "generator.safetensors")


def _step(
    config: TrainConfig,
    step: int,
    batch: Batch,
    restorer: UNet,
    optimiser: torch.optim.Optimizer,
    branch: CycleGAN | None,
    dtype: torch.dtype,
) -> dict[str, float]:
    """One optimiser step of every player that this step has; its losses as plain numbers."""
    device = next(restorer.parameters()).device
    values: dict[str, float] = {}
    total = torch.zeros((), device=device)
    optimiser.zero_grad(set_to_none=True)
    # What a step draws (places, noise) depends on the seed and the step alone, however often the run was resumed.
    torch.manual_seed(config.seed * 1_000_003 + step)
    # No cache of cast weights: the discriminators' change within the step, and a cache filled without gradients
    # would cut the generators off from theirs.
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
        if batch.rendered is not None:
            restored = restorer(batch.rendered.degraded, batch.rendered.thumbnail, batch.rendered.place)
            loss = rendered_loss(restored, batch.rendered.clear, config.rendered.frequency, config.rendered.balance)
            values["rendered"] = float(loss.detach())
            total = total + config.rendered.weight * loss
        if branch is not None and batch.degraded is not None and batch.clear is not None:
            loss, parts = branch.losses(batch.degraded, batch.clear)
            values |= parts
            total = total + config.unpaired.weight * loss
    if not all(np.isfinite(value) for value in (*values.values(), float(total.detach()))):
        raise TrainingError(_not_finite(step, values), kind="not_finite")
    total.backward()
    norm = nn.utils.clip_grad_norm_(restorer.parameters(), config.optimiser.clip)
    if not torch.isfinite(norm):
        raise TrainingError(_not_finite(step, {**values, "gradient": float(norm)}), kind="not_finite")
    optimiser.step()
    if branch is not None and batch.degraded is not None:
        branch.update()
    return values


def _not_finite(step: int, values: dict[str, float]) -> str:
    bad = ", ".join(name for name, value in values.items() if not np.isfinite(value)) or "total"
    return (
        f"step {step}: the loss is not finite ({bad}); the last checkpoint is intact: "
        "resume with a lower optimiser.lr or unpaired.lr in a new run, or with --precision fp32"
    )


def rate(config: TrainConfig, step: int) -> float:
    """The learning rate of a step as a share of the highest: linear warm-up, constant, linear decay to 0."""
    warm = min(1.0, (step + 1) / max(config.optimiser.warmup, 1))
    tail = config.steps * config.optimiser.decay
    return warm * (min(1.0, (config.steps - step) / tail) if tail > 0 else 1.0)


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


@torch.inference_mode()
def restore_array(
    model: UNet, photo: np.ndarray, device: torch.device, dtype: torch.dtype = torch.float32
) -> np.ndarray:
    """Whole photo (H, W, 3) uint8 -> restored (H, W, 3) uint8, in one piece: for validation photos of modest size."""
    size = model.config.thumbnail
    small = as_tensor(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA))[None].to(device)
    x = as_tensor(photo)[None].to(device)
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % model.stride, 0, -height % model.stride), mode="replicate")
    place = torch.tensor([[0, 0, x.shape[2] / height, x.shape[3] / width]], device=device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        y = model(x, small, place)[0, :, :height, :width]
    return (y.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def validate(model: UNet, pairs: list[tuple[Path, Path]], device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Mean PSNR over the pairs, and its gain over the unrestored photos, in dB (RGB and luma)."""
    rows = []
    for source, wanted in pairs:
        photo, target = read_rgb(source), read_rgb(wanted)
        restored = restore_array(model, photo, device, dtype)
        scores = [psnr(restored, target), psnr_y(restored, target), psnr(photo, target), psnr_y(photo, target)]
        rows.append([min(score, 100.0) for score in scores])
    rgb, y, before, before_y = (float(mean) for mean in np.mean(rows, axis=0))
    return {"val_psnr": rgb, "val_psnr_y": y, "val_gain": rgb - before, "val_gain_y": y - before_y}


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` -> device; :class:`BackendError` when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"there is no device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(f"{name} is not available: torch finds {torch.cuda.device_count()} CUDA devices here")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"cannot train on {name!r}: use auto, cpu, cuda or cuda:N")
    return device


def choose_dtype(options: Options) -> torch.dtype:
    """The precision of the networks' arithmetic; weights and losses stay in float32."""
    device = choose_device(options.device)
    if options.precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_has_fast_bf16()
        return torch.bfloat16 if fast else torch.float32
    if options.precision not in ("fp32", "bf16"):
        raise BackendError(f"training runs in fp32 or bf16, not in {options.precision}")
    return torch.float32 if options.precision == "fp32" else torch.bfloat16


def describe(options: Options) -> str:
    """What a run would do, for people: the resolved configuration, parameter counts, and the photos found."""
    options, restorer = _with_start(options)
    data, pairs = _open_data(options)
    config = options.config
    players: dict[str, nn.Module] = {"restorer": restorer}
    if config.unpaired.weight > 0:
        players |= build_branch(config, restorer, torch.device("cpu")).modules()
    lines = [config.to_toml()]
    lines += [f"# {name}: {sum(p.numel() for p in m.parameters()):,} parameters" for name, m in players.items()]
    lines.append(f"# {data.summary()}")
    lines.append(
        f"# {len(pairs)} validation pairs; device {choose_device(options.device)}, {_name(choose_dtype(options))}"
    )
    return "\n".join(lines) + "\n"


def _name(dtype: torch.dtype) -> str:
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def _open_data(options: Options) -> tuple[Batches, list[tuple[Path, Path]]]:
    exclude = options.config.data.exclude
    degraded, clear = (training_photos(folder, exclude) for folder in (options.degraded, options.clear))
    pairs: list[tuple[Path, Path]] = []
    if options.val is not None:
        found = pair_folders(*options.val)
        pairs, alone = found.pairs, [*found.alone, *(path for path, _ in found.unsure)]
        if not pairs or alone:
            what = f"{alone[0].name} has no target, or several," if alone else "there are no photos"
            raise TrainingError(f"cannot validate on {options.val[0]}: {what} in {options.val[1]}", kind="validation")
        for source, wanted in pairs:
            _check_pair(source, wanted)
    return Batches(options.config, degraded, clear), pairs


def _check_pair(source: Path, wanted: Path) -> None:
    """Known before the first step, rather than at the first validation."""
    try:
        same = read_rgb(source).shape == read_rgb(wanted).shape
    except PhotoError as error:
        raise TrainingError(f"cannot validate: {error}", kind="validation") from error
    if not same:
        raise TrainingError(f"cannot validate: {source} and {wanted} are of different sizes", kind="validation")


def _with_start(options: Options) -> tuple[Options, UNet]:
    """The generator at the start of a new run, identity or the weights to fine-tune, and the options with its shape:
    what is fine-tuned keeps the shape it has, whatever the preset says."""
    if options.start_from is None:
        return options, UNet(options.config.generator)
    weights = resolve(options.start_from, options.config.task)
    restorer = load_network(weights)
    if not isinstance(restorer, UNet):
        raise TrainingError(
            f"{weights.path} holds a network ({weights.descriptor.architecture}) that cannot be fine-tuned"
        )
    config = replace(options.config, generator=restorer.config)
    problems = config.problems()
    if problems:
        raise UsageError(f"the preset does not fit the generator of {weights.path}: {'; '.join(problems)}")
    return replace(options, config=config), restorer.requires_grad_(True)


def _players(
    restorer: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, branch: CycleGAN | None
) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer]]:
    """Everything that has a state, by name."""
    modules: dict[str, nn.Module] = {"restorer": restorer, "average": average}
    optimisers = {"restorer": optimiser}
    if branch is not None:
        modules |= branch.modules()
        optimisers |= branch.optimisers()
    return modules, optimisers


def _refuse_other_config(config: TrainConfig, facts: dict[str, object], checkpoint: Path) -> None:
    try:
        saved = flat(config_from_toml(str(facts["config"]), str(checkpoint)))
    except UsageError as error:
        raise TrainingError(f"{error}: it is of another version; choose another --out", kind="checkpoint") from error
    changed = [name for name, value in flat(config).items() if saved[name] != value and name not in FREE_TO_CHANGE]
    if changed:
        raise TrainingError(
            f"{checkpoint} belongs to another configuration ({', '.join(changed)} changed): "
            "give the same options as before, or another --out",
            kind="checkpoint",
        )


def _make_folder(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make {run} ({error.strerror}): choose another --out", kind="unwritable") from error
    if not os.access(run, os.W_OK):
        raise TrainingError(f"cannot write to {run}: choose another --out", kind="unwritable")


def _defer_interrupts() -> tuple[Callable[[], bool], Callable[[], None]]:
    """Put the first Ctrl-C off until the step is whole; the second one acts at once.

    Returns what tells whether there was one, and what puts the old handler back.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: False, lambda: None
    found: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def restore() -> None:
        signal.signal(signal.SIGINT, before)

    def remember(number: int, _: object) -> None:
        found.append(number)
        restore()

    signal.signal(signal.SIGINT, remember)
    return lambda: bool(found), restore


def _open_log(path: Path, step: int):  # type: ignore[no-untyped-def]
    """The log, open for appending, without the lines that the checkpoint knows nothing of."""
    if path.exists():
        lines = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
        write_bytes_atomic(("\n".join(lines) + "\n" if lines else "").encode(), path, overwrite=True)
    return path.open("a", encoding="utf-8")


def _data(options: Options, data: Batches) -> str:
    """What a run learnt from, for others: the folders' names without their paths, and how many photos they hold."""
    return f"{options.degraded.resolve().name} and {options.clear.resolve().name}: {data.summary()}"


def _step_of(line: str) -> float:
    """Step of a log line; infinite for a line that a killed run left half written."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _workers(options: Options, device: torch.device) -> int:
    if options.workers is not None:
        return options.workers
    return min(8, usable_cores()) if device.type == "cuda" else 0


def _moved(source: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches on the device, channels last, which is what its convolutions are fastest with."""

    def move(part):  # type: ignore[no-untyped-def]
        if part is None:
            return None
        tensors = {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}
        moved = {
            name: value.to(
                device,
                non_blocking=True,
                memory_format=torch.channels_last if value.dim() == 4 else torch.preserve_format,
            )
            for name, value in tensors.items()
        }
        return replace(part, **moved)

    for batch in source:
        yield Batch(move(batch.rendered), move(batch.degraded), move(batch.clear))


def _sample_sheet(path: Path, model: UNet, batch: Batch, data: Batches, device: torch.device) -> None:
    """A PNG to look at: rendered crops (degraded, restored, clear) above crops of real photos (before, after)."""
    rows: list[Tensor] = []

    def restored(photo: Tensor, thumbnail: Tensor, place: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(photo, thumbnail, place).float().clamp(0, 1)

    if batch.rendered is not None:
        r = batch.rendered
        rows += [r.degraded, restored(r.degraded, r.thumbnail, r.place), r.clear]
    real = data.real_samples(len(rows[0]) if rows else 8)
    crop = real.crop.to(device)
    rows += [crop, restored(crop, real.thumbnail.to(device), real.place.to(device))]
    sheet = torch.cat([torch.cat(list(row.cpu()), dim=2) for row in rows], dim=1)
    pixels = (sheet * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
    path.parent.mkdir(exist_ok=True)
    write_bytes_atomic(cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes(), path, overwrite=True)
