"""Everything needed to resume, in one safetensors file that is replaced atomically.

Tensors are named ``player/...`` (weights) and ``player/optimiser/...`` (Adam's state); the numbers that are no
tensors stand in the file's metadata as JSON. One file, one rename: there is no moment with half a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from restorecli.errors import PhotoError, TrainingError
from restorecli.photo import write_bytes_atomic

NAME = "restorecli-checkpoint"
VERSION = 2
"""Older ones are read as well; what they do not say takes its default."""


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors: ``<parameter number>.<name>``."""
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(float(value))
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimiser_tensors(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimiser_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    # In the layout of their weights again, which files do not keep: else each would be stepped by itself.
    for parameter, found in optimiser.state.items():
        for name, value in found.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                found[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def save_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    facts: Mapping[str, object],
) -> None:
    """Write modules, optimisers and ``facts`` (plain values) to ``path``.

    Raises :class:`TrainingError` when the disk is full or the folder cannot be written; the file that was there is
    then as it was.
    """
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        tensors |= {f"{name}/optimiser/{key}": value for key, value in optimiser_tensors(optimiser).items()}
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    data = save(tensors, {"format": f"{NAME}-{VERSION}", "facts": json.dumps(dict(facts))})
    try:
        write_bytes_atomic(data, path, overwrite=True)
    except PhotoError as error:
        message = f"the checkpoint was not saved: {error}; the last one is intact"
        raise TrainingError(message, kind=error.kind) from error


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a checkpoint; :class:`TrainingError` when it is none."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            name, _, version = metadata.get("format", "").rpartition("-")
            if name != NAME or not version.isdecimal():
                raise TrainingError(f"{path} is not a checkpoint: start a new run, or remove it", kind="checkpoint")
            if int(version) > VERSION:
                writer = json.loads(metadata["facts"]).get("version", "a newer one")
                raise TrainingError(
                    f"{path} was written by a newer version of restorecli ({writer}): update, or choose another --out",
                    kind="checkpoint",
                )
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(metadata["facts"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"cannot read the checkpoint {path}: {error}", kind="checkpoint") from error


def restore_modules(
    tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer]
) -> None:
    """Put the tensors of a checkpoint back; :class:`TrainingError` when they do not fit the modules."""
    for name, module in modules.items():
        own = {
            key.removeprefix(f"{name}/"): value
            for key, value in tensors.items()
            if key.startswith(f"{name}/") and not key.startswith(f"{name}/optimiser/")
        }
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise TrainingError(
                f"the checkpoint does not fit the networks of this run ({name})", kind="checkpoint"
            ) from error
    for name, optimiser in optimisers.items():
        prefix = f"{name}/optimiser/"
        load_optimiser_tensors(
            optimiser, {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        )
