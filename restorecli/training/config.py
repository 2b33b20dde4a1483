"""What a training run is made of: dataclasses whose field docstrings are the documentation of the presets.

A preset is a TOML file with the same sections. Every field has a default; unknown fields are refused with the nearest
known name, and all problems of a file are reported at once.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, astuple, dataclass, field, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from restorecli.errors import UsageError
from restorecli.models.descriptor import TASKS
from restorecli.models.generators import ARCHITECTURES
from restorecli.models.resnet import ResNetConfig
from restorecli.models.unet import UNetConfig

METHODS = ("cyclegan", "cdd", "dcd")
SAMPLING = ("detail", "epoch")
OPTIMISERS = ("adam", "muon")
PRESETS = (
    "cdd", "cdd-paper", "dcd", "dcd-paper", "finetune-dehaze", "finetune-derain", "ship-dehaze", "ship-derain",
)  # fmt: skip


SHARES = ("whole", "recompose", "rotate", "gamma", "colour", "enlarge", "jpeg", "alone", "lines", "rgbd_share")
"""The fields of ``[data]`` that are shares of the crops."""


@dataclass(frozen=True)
class DataConfig:
    """Where crops come from."""

    crop: int = 128
    """Edge of a training crop in pixels; a multiple of the generator's stride."""
    batch: int = 8
    """Crops of a step."""
    sampling: str = "detail"
    """How photos are drawn: ``detail``, at random, large and detailed ones more often; ``epoch``, each as often as the
    others, in a new order every time all have been seen."""
    resize: int = 0
    """Photos are first resized to a square of this edge in pixels, as CycleGAN's loaders do; 0: they are not."""
    scale: tuple[float, float] = (0.5, 1.0)
    """Photos are reduced to a share of their size drawn from this range before a crop is cut."""
    stretch: float = 1.0
    """Half of the crops are squeezed along one side by up to this factor, so that facades, fences and streaks of more
    kinds are seen than there are photos of; 1: none."""
    whole: float = 0.0
    """Share of crops that are the whole photo, squeezed into the square: what an overview shows."""
    recompose: float = 0.0
    """Share of rendered crops for which a part of the photo, of 0.55 to 1 of each side, takes the place of the photo,
    thumbnail and all: more compositions than there are photos."""
    rotate: float = 0.0
    """Share of rendered crops turned by 90 degrees: lines of every direction for rain, never for haze, which knows
    up."""
    gamma: float = 0.3
    """Share of rendered crops whose photo is made darker or brighter by a gamma of 0.6 to 1.7."""
    colour: float = 0.0
    """Share of rendered crops whose colours are made paler or stronger (by half at most) and given a slight cast, as if
    the same things were of other materials, or in another light."""
    enlarge: float = 0.0
    """Share of rendered crops of which a part is enlarged by up to 2.2, as soft as photos that are enlarged or shaken
    are."""
    jpeg: float = 0.3
    """Share of rendered crops that go through JPEG at quality 50 to 95."""
    alone: float = 0.25
    """Share of rendered crops whose thumbnail is of the crop alone, as if it were the whole photo."""
    lines: float = 0.0
    """Share of rendered crops with regular lines drawn over them, which look like rain and are none."""
    exclude: tuple[str, ...] = ()
    """File name patterns (as in a shell) that are left out of every folder: what is kept for testing."""
    rgbd: str = ""
    """A folder with ``rgb/`` and ``depth/`` (same stems) whose photos join the clear ones, for haze with true depth."""
    rgbd_share: float = 0.35
    """Share of rendered crops that come from ``rgbd``, when it is given."""
    cache_mb: int = 1500
    """Decoded photos kept in memory, by all workers of a process together."""
    held_out: int = 8
    """When fine-tuning without validation pairs: photos of each folder that are not learnt from, but measured on (at
    most a fifth of the folder)."""


@dataclass(frozen=True)
class RenderedConfig:
    """Training on rendered degradations, whose clear side is known."""

    weight: float = 1.0
    """Weight of the rendered loss; 0 leaves it out, for strictly unpaired learning."""
    frequency: float = 0.1
    """Weight, within the rendered loss, of the L1 distance of spectra beside the L1 distance of pixels."""
    rms: float = 0.0
    """Weight, within the rendered loss, of the root mean square error of a crop beside the L1 distance of pixels."""
    balance: float = 0.01
    """Error of a crop (of 1) above which it counts by its logarithm, so that heavy ones do not rule; 0: never."""


@dataclass(frozen=True)
class UnpairedConfig:
    """The contrastive CycleGAN on unpaired photos."""

    weight: float = 1.0
    """Weight of all unpaired losses beside the rendered one; 0 leaves the whole branch out."""
    start: int = 0
    """First step with unpaired losses; before it, only rendered degradations are learnt."""
    every: int = 1
    """An unpaired step follows every so many steps."""
    batch: int = 4
    """Crops of each domain in an unpaired step."""
    gan: str = "hinge"
    """Adversarial loss: ``hinge`` or ``lsgan``."""
    adversarial: float = 0.5
    """Weight of the adversarial loss of each generator."""
    cycle: float = 5.0
    """Weight of the cycle consistency (L1) of each cycle."""
    identity: float = 1.0
    """Weight of the identity loss (L1): a generator leaves photos of its target domain as they are."""
    contrast: float = 0.5
    """Weight of the contrastive loss in both directions."""
    all_stages: bool = False
    """Contrast between all stages of both cycles, not only those of the first translations (method ``dcd``)."""
    patches: int = 128
    """Patches sampled in each feature layer."""
    temperature: float = 0.07
    """Temperature of the patch-contrastive loss."""
    queue: int = 128
    """Negatives of each layer, made by the negative generators (method ``cdd``)."""
    fresh: int = 0
    """How many of them are made anew for each photo in each step; the others are those of earlier steps, the oldest of
    which leave. 0: all (method ``cdd``)."""
    exemplars: float = 0.0
    """Share of the contrastive loss towards clear whose positives are patches of unpaired clear photos (method
    ``cdd``)."""
    noise: int = 64
    """Length of the noise vector of a negative generator (method ``cdd``)."""
    diversity: float = 1.0
    """Weight of the negative generators' diversity term (method ``cdd``)."""
    spread: float = 0.0
    """Mean distance (L1, a dimension) at which the negatives are different enough, and may all go for the query; those
    that have nothing to do with one another are 0.07 apart. 0: the farther apart the better, as in NEGCUT (``cdd``)."""
    own: bool = False
    """Whether the other places of the photo are negatives too, beside the generated ones (method ``cdd``)."""
    lr: float = 1e-4
    """Learning rate of the clear-to-degraded generator, the discriminators, the heads and the negative generators."""
    heads_lr: float = 0.0
    """Learning rate of the projection heads; 0: that of the others."""
    decay: float = 0.0
    """Share of the steps, at the end, over which these learning rates fall linearly to 0."""
    degrader: tuple[int, ...] = (24, 48, 64)
    """Widths of the clear-to-degraded generator (architecture ``unet``; a ``resnet`` has one of its own shape)."""
    physics: bool = False
    """Whether the clear-to-degraded generator is bound to physics (architecture ``unet``): one rain layer, or one
    transmission and airlight, made from the photo and noise."""
    transplant: float = 0.0
    """Weight of the loss (L1) on clear photos over which rain is laid that was found in degraded ones (rain only)."""
    transplant_start: int = 0
    """First step with this loss: a restorer that finds no rain yet has none to lay over photos."""
    floor: float = 0.016
    """Mean change of a photo (L1, of 1) that a degrader bound to physics is kept from staying below; 0: none. The
    default is what ``benchmarks/floor.py`` finds from two unpaired folders of light rain, which changes photos by about
    0.02."""
    floor_weight: float = 1.0
    """Weight of what it lacks, as a share of the floor."""
    discriminator: int = 48
    """Channels of the discriminators' first layer."""
    scales: int = 1
    """Discriminators of each domain, each further one on photos of half the size."""
    pool: int = 0
    """Generated photos that each discriminator is shown again at later steps; 0: none."""
    balance: float = 0.0
    """Norm of the unpaired losses' gradient on the restorer, as a share of that of the rendered loss; ``weight`` then
    follows from measured norms. 0: ``weight`` is what is written."""
    balance_every: int = 20
    """Unpaired steps between measurements of these norms, whose moving averages (decay 0.9) are compared."""


@dataclass(frozen=True)
class OptimiserConfig:
    """How the restoring generator learns."""

    kind: str = "adam"
    """``adam``, or ``muon`` (Jordan et al., 2024) for all layers but the last, which needs fewer steps."""
    lr: float = 4e-4
    """Learning rate after the warm-up."""
    warmup: int = 300
    """Steps over which the learning rate rises from 0."""
    decay: float = 0.35
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""
    beta1: float = 0.9
    """First beta of Adam."""
    beta2: float = 0.99
    """Second beta of Adam."""
    weight_decay: float = 0.0
    """Share of a weight that goes at each step, times the learning rate (decoupled: Loshchilov and Hutter, ICLR 2019);
    with ``muon`` of the layers alone that it moves."""
    clip: float = 1.0
    """Largest norm of the gradient of each optimiser: the restorer's, that of both discriminators, that of the other
    generator and the projection heads, and that of the negative generators; 0: any."""
    accumulate: int = 1
    """Groups of crops (each of ``data.batch`` and ``unpaired.batch``) that are gone through before a step is made."""
    ema: float = 0.999
    """Decay of the moving average of the generator's weights, which is what is saved and used."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole run."""

    task: str = "derain"
    """``dehaze`` or ``derain``."""
    method: str = "dcd"
    """What guides the unpaired branch: ``cyclegan`` (patch NCE alone), ``cdd`` or ``dcd``."""
    architecture: str = "unet"
    """The restoring generator: ``unet``, of the shape in ``[generator]``, or ``resnet``, of that in ``[resnet]``."""
    steps: int = 40000
    """Length of the run in optimiser steps."""
    epochs: int = 0
    """Length of the run in passes over the larger of the two folders, from which ``steps`` is then computed; 0:
    ``steps`` counts."""
    seed: int = 0
    """Seed of weights, crops and degradations."""
    log_every: int = 50
    """Steps between lines of the log."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    sample_every: int = 1000
    """Steps between sample sheets."""
    validate_every: int = 2000
    """Steps between validations, when a validation set is given."""
    generator: UNetConfig = field(default_factory=UNetConfig)
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    data: DataConfig = field(default_factory=DataConfig)
    rendered: RenderedConfig = field(default_factory=RenderedConfig)
    unpaired: UnpairedConfig = field(default_factory=UnpairedConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def problems(self) -> list[str]:
        """What is wrong with the values, one sentence each."""
        found = [f"generator.{problem}" for problem in self.generator.problems()]
        found += [f"resnet.{problem}" for problem in self.resnet.problems()]
        stride = self.generator.stride
        unpaired = self.unpaired
        checks = (
            (self.task in TASKS, f"task must be one of {', '.join(TASKS)}, not {self.task!r}"),
            (self.method in METHODS, f"method must be one of {', '.join(METHODS)}, not {self.method!r}"),
            (
                self.architecture in ARCHITECTURES,
                f"architecture must be one of {', '.join(ARCHITECTURES)}, not {self.architecture!r}",
            ),
            (self.steps >= 1, f"steps must be at least 1, not {self.steps}"),
            (self.epochs >= 0, f"epochs must not be negative, not {self.epochs}"),
            (
                self.data.sampling in SAMPLING,
                f"data.sampling must be one of {', '.join(SAMPLING)}, not {self.data.sampling!r}",
            ),
            (
                self.data.resize == 0 or self.data.resize >= self.data.crop,
                f"data.resize must be 0 or at least data.crop, not {self.data.resize}",
            ),
            (self.data.held_out >= 1, "data.held_out must be at least 1"),
            (
                min(self.log_every, self.checkpoint_every, self.sample_every, self.validate_every) >= 1,
                "log_every, checkpoint_every, sample_every and validate_every must be at least 1",
            ),
            (
                self.data.crop >= 32 and self.data.crop % max(stride, 8) == 0,
                f"data.crop must be a multiple of {max(stride, 8)} and at least 32, not {self.data.crop}",
            ),
            (self.data.batch >= 1 and self.unpaired.batch >= 1, "data.batch and unpaired.batch must be at least 1"),
            (1 <= self.data.stretch <= 4, f"data.stretch must be from 1 to 4, not {self.data.stretch}"),
            (0 < self.data.scale[0] <= self.data.scale[1] <= 4, "data.scale must be two rising numbers in (0, 4]"),
            (
                all(0 <= getattr(self.data, name) <= 1 for name in SHARES),
                f"{', '.join(f'data.{name}' for name in SHARES[:-1])} and data.{SHARES[-1]} are shares between 0 and 1",
            ),
            (
                min(astuple(self.rendered)) >= 0,
                "rendered.weight, rendered.frequency, rendered.rms and rendered.balance must not be negative",
            ),
            (
                self.rendered.weight > 0 or (self.unpaired.weight > 0 and self.unpaired.start == 0),
                "rendered.weight is 0, so unpaired.weight must be positive and unpaired.start 0, or nothing is learnt",
            ),
            (
                self.rendered.weight > 0 or self.unpaired.every == 1,
                "rendered.weight is 0, so unpaired.every must be 1",
            ),
            (
                self.unpaired.gan in ("hinge", "lsgan"),
                f"unpaired.gan must be hinge or lsgan, not {self.unpaired.gan!r}",
            ),
            (self.unpaired.every >= 1 and self.unpaired.start >= 0, "unpaired.every >= 1 and unpaired.start >= 0"),
            (self.unpaired.patches >= 2 and self.unpaired.queue >= 2, "unpaired.patches and unpaired.queue >= 2"),
            (
                unpaired.fresh == 0 or 2 <= unpaired.fresh <= unpaired.queue,
                f"unpaired.fresh must be 0, or from 2 to unpaired.queue, not {unpaired.fresh}",
            ),
            (
                unpaired.fresh in (0, unpaired.queue)
                or unpaired.batch * self.optimiser.accumulate * unpaired.fresh <= unpaired.queue - unpaired.fresh,
                "unpaired.queue must have room for a whole step's negatives (unpaired.fresh for each of unpaired.batch "
                "photos) beside the fresh ones",
            ),
            (0 <= unpaired.exemplars <= 1, "unpaired.exemplars is a share between 0 and 1"),
            (0 <= unpaired.heads_lr < 1, "unpaired.heads_lr must be at least 0 and below 1"),
            (0 <= unpaired.decay <= 1, "unpaired.decay is a share between 0 and 1"),
            (
                not unpaired.physics or self.architecture == "unet",
                "unpaired.physics needs architecture unet, whose encoder the degrader shares the shape of",
            ),
            (
                unpaired.transplant == 0 or (unpaired.transplant > 0 and self.task == "derain"),
                "unpaired.transplant is a weight, and for rain only: haze cannot be moved from scene to scene",
            ),
            (
                not self.data.rgbd or self.task == "dehaze",
                "data.rgbd is for haze only: rain is rendered without depth",
            ),
            (unpaired.transplant_start >= 0, "unpaired.transplant_start must not be negative"),
            (min(unpaired.floor, unpaired.floor_weight) >= 0, "unpaired.floor and floor_weight must not be negative"),
            (1 <= unpaired.scales <= 4, f"unpaired.scales must be from 1 to 4, not {unpaired.scales}"),
            (
                self.data.crop >= 32 * 2 ** (unpaired.scales - 1),
                "data.crop must be at least 32 pixels at the coarsest of unpaired.scales",
            ),
            (unpaired.pool >= 0, "unpaired.pool must not be negative"),
            (unpaired.balance >= 0 and unpaired.balance_every >= 1, "unpaired.balance >= 0 and balance_every >= 1"),
            (
                unpaired.balance == 0 or self.rendered.weight > 0,
                "unpaired.balance is a share of the rendered loss's gradient, so rendered.weight must be positive",
            ),
            (self.unpaired.temperature > 0, "unpaired.temperature must be positive"),
            (0 < self.optimiser.lr < 1 and 0 < self.unpaired.lr < 1, "learning rates must be between 0 and 1"),
            (0 <= self.optimiser.decay <= 1, "optimiser.decay is a share between 0 and 1"),
            (0 <= self.optimiser.ema < 1, "optimiser.ema must be at least 0 and below 1"),
            (self.optimiser.clip >= 0, "optimiser.clip must not be negative"),
            (0 <= self.optimiser.weight_decay < 10, "optimiser.weight_decay must be at least 0 and below 10"),
            (
                self.optimiser.kind in OPTIMISERS,
                f"optimiser.kind must be one of {', '.join(OPTIMISERS)}, not {self.optimiser.kind!r}",
            ),
            (
                0 <= self.optimiser.beta1 < 1 and 0 <= self.optimiser.beta2 < 1,
                "optimiser.beta1 and optimiser.beta2 must be at least 0 and below 1",
            ),
            (self.optimiser.accumulate >= 1, "optimiser.accumulate must be at least 1"),
            (self.optimiser.warmup >= 0, "optimiser.warmup must not be negative"),
            (0 <= self.seed < 2**32, f"seed must be from 0 to {2**32 - 1}, not {self.seed}"),
            (self.data.cache_mb >= 0, "data.cache_mb must not be negative"),
            (
                all(
                    value >= 0
                    for value in (
                        self.unpaired.weight,
                        self.unpaired.adversarial,
                        self.unpaired.cycle,
                        self.unpaired.identity,
                        self.unpaired.contrast,
                        self.unpaired.diversity,
                        self.unpaired.spread,
                    )
                ),
                "the weights of unpaired losses must not be negative",
            ),
            (self.unpaired.discriminator >= 1 and self.unpaired.noise >= 1, "unpaired.discriminator and noise >= 1"),
            (
                self.architecture != "unet"
                or unpaired.weight == 0
                or self.data.crop % (self.generator.stem * 2 ** (len(unpaired.degrader) - 1)) == 0,
                "data.crop must be a multiple of the stride that the levels of unpaired.degrader make",
            ),
            (
                self.task == "derain" or self.data.rotate == 0,
                "data.rotate is for rain: haze knows up, and depth is not turned with the photo",
            ),
            (
                len(self.unpaired.degrader) >= 2 and min(self.unpaired.degrader) >= 1,
                "unpaired.degrader must be at least two widths of at least 1",
            ),
        )
        return found + [message for holds, message in checks if not holds]

    def warnings(self) -> list[str]:
        """What is lawful, and probably not meant, one sentence each; of a run whose length is in steps."""
        found = []
        stages = (
            ("start", self.unpaired.start, self.unpaired.weight > 0, "nothing is learnt from degraded photos"),
            (
                "transplant_start", self.unpaired.transplant_start,
                self.unpaired.weight > 0 and self.unpaired.transplant > 0, "no rain is transplanted",
            ),
        )  # fmt: skip
        for name, first, wanted, loss in stages:
            if wanted and first >= self.steps:
                share = 9 * self.steps // 10
                found.append(
                    f"unpaired.{name} is {first}, and the run has {self.steps} steps, so {loss}: "
                    f"give --set unpaired.{name}={share} for the last tenth"
                )
        return found

    def with_overrides(self, pairs: Iterable[str]) -> TrainConfig:
        """The configuration with ``section.field=value`` pairs laid over it.

        Raises :class:`UsageError` naming every pair that is wrong.
        """
        found: list[str] = []
        nested: dict[str, Any] = {}
        for pair in pairs:
            key, sign, text = pair.partition("=")
            if not sign:
                found.append(f"{pair!r} is not of the form key=value")
                continue
            place = nested
            *sections, name = key.strip().split(".")
            for section in sections:
                place = place.setdefault(section, {}) if isinstance(place, dict) else place
            if not isinstance(place, dict):
                found.append(f"{'.'.join(sections)} is given a value and fields")
                continue
            place[name] = _parse(text.strip())
        # A length in steps that is asked for takes the place of one in epochs.
        base = replace(self, epochs=0) if "steps" in nested else self
        config = _build(type(self), nested, base, "", found)
        if "steps" in nested and config.epochs > 0:
            found.append("steps and epochs are both given: give one length")
        # Options of their own (--crop) may be among the pairs: what is wrong then is told of by its field alone.
        _refuse("--set" if found else "configuration", found + config.problems())
        return config

    def to_toml(self) -> str:
        """The resolved configuration as TOML that :func:`load_preset` reads back."""
        lines, sections = [], []
        for item in fields(self):
            value = getattr(self, item.name)
            if is_dataclass(value):
                sections.append((item.name, value))
            else:
                lines.append(f"{item.name} = {_toml(value)}")
        for name, section in sections:
            lines += ["", f"[{name}]"]
            lines += [f"{item.name} = {_toml(getattr(section, item.name))}" for item in fields(section)]
        return "\n".join(lines) + "\n"


def load_preset(name: str) -> TrainConfig:
    """The preset of that name, or the TOML file at that path.

    Raises :class:`UsageError` when there is none, or when it is wrong; all its problems are named.
    """
    if name in PRESETS:
        text = resources.files("restorecli.training").joinpath("presets", f"{name}.toml").read_text("utf-8")
        return config_from_toml(text, f"preset {name}")
    path = Path(name)
    if path.suffix != ".toml":
        near = difflib.get_close_matches(name, PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}, or give a .toml file"
        raise UsageError(f"there is no preset {name!r}: {hint}")
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the preset {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the preset {path}: it is not UTF-8 text") from error
    return config_from_toml(text, str(path))


def config_from_toml(text: str, source: str) -> TrainConfig:
    """Read TOML; :class:`UsageError` names ``source`` and everything that is wrong in it."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from error
    found: list[str] = []
    config = _build(TrainConfig, values, TrainConfig(), "", found)
    _refuse(source, found + config.problems())
    return config


def flat(config: TrainConfig) -> dict[str, Any]:
    """Every field by the name that ``--set`` knows it by, ``section.field``."""
    values: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            values |= {f"{item.name}.{inner.name}": getattr(value, inner.name) for inner in fields(value)}
        else:
            values[item.name] = value
    return values


def _refuse(source: str, problems: list[str]) -> None:
    if problems:
        raise UsageError(f"{source}: " + "; ".join(problems))


def _build(kind: type, values: Mapping[str, Any], base: Any, prefix: str, found: list[str]) -> Any:
    """``base`` with ``values`` laid over it; what does not fit is added to ``found``."""
    hints = get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            found.append(f"unknown field {prefix}{name}" + (f" (did you mean {prefix}{near[0]}?)" if near else ""))
        elif is_dataclass(hints[name]):
            if isinstance(value, Mapping):
                changes[name] = _build(hints[name], value, getattr(base, name), f"{prefix}{name}.", found)
            else:
                found.append(f"{prefix}{name} is a section, not a value")
        else:
            default = known[name].default
            like = default if default is not MISSING else getattr(base, name)
            try:
                changes[name] = _like(like, value)
            except (TypeError, ValueError):
                found.append(f"{prefix}{name} must be like {like!r}, not {value!r}")
    return replace(base, **changes)


def _like(default: Any, value: Any) -> Any:
    """``value`` as the type of ``default``; TypeError or ValueError when it cannot be."""
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise TypeError
        element = default[0] if default else ""
        result = tuple(_like(element, one) for one in value)
        if isinstance(element, float) and len(result) != len(default):
            raise ValueError
        return result
    if isinstance(default, float) and type(value) in (int, float):
        return float(value)
    if type(value) is not type(default):
        raise TypeError
    return value


def _parse(text: str) -> Any:
    """A value as TOML would read it; bare words are strings."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return repr(value)
