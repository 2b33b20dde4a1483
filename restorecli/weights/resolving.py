"""From what ``--weights`` was given to a weights file that is sound."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from restorecli.errors import WeightsError
from restorecli.weights.catalogued import Entry, catalogue, entry_called
from restorecli.weights.described import Weights, described, of_file, safetensors_metadata
from restorecli.weights.files import PICKLES, sha256_of
from restorecli.weights.hub import HF_DEFAULT_FILE, Progress, fetch
from restorecli.weights.networks import load_network

_REMOVES = {"dehaze": "haze", "derain": "rain"}


def resolve(which: str | None, task: str | None) -> Weights:
    """Find the weights that ``which`` means and check them, without loading any tensor.

    ``which`` is None (the shipped weights of ``task``), a name of the catalogue, a ``.safetensors`` or ``.onnx`` file,
    the folder of a training run or of a pack, or ``hf://OWNER/REPO[@REV][/FILE]`` (the only one that uses the network).
    ``task`` None takes weights of any task and needs a ``which``. A file of another program, ``.pth`` or
    ``.safetensors``, is taken to be for ``task`` when spandrel knows its network.

    Raises :class:`WeightsError` of kind ``missing``, ``corrupt``, ``wrong_task``, ``refused`` (pickles), ``offline``,
    and those of the hub (:func:`restorecli.weights.hub.fetch`) and of other programs' files
    (:func:`restorecli.weights.foreign.described_by_spandrel`).
    """
    if which is None:
        found = [entry for entry in catalogue() if entry.task == task and entry.default]
        if not found:
            raise WeightsError(f"no weights for {task} are shipped: give --weights FILE", kind="missing")
        weights = _of_entry(found[0])
    elif which.startswith("hf://") or _looks_like_path(which):
        name = which if which.startswith("hf://") else Path(which).name
        weights = of_file(located(which), name=name, task=task)
    else:
        weights = _of_entry(entry_called(which))
    if task is not None and weights.task != task:
        raise WeightsError(
            f"{weights.name} removes {_REMOVES[weights.task]}, not {_REMOVES[task]}: "
            f"give weights for {task}, or do what these are for",
            kind="wrong_task",
        )
    return weights


def verify(name: str) -> Entry:
    """Check all files of the catalogue's entry ``name``: there, of the right checksum, tensors and all.

    :class:`WeightsError` for the first thing that is wrong.
    """
    entry = entry_called(name)
    weights = _of_entry(entry)
    if entry.onnx_path is not None and weights.onnx is None:
        raise WeightsError(f"{entry.onnx_path} is missing: reinstall restorecli", kind="missing")
    load_network(weights)
    return entry


@dataclass(frozen=True)
class Pulled:
    """Weights that :func:`pull` has brought, or found here already."""

    name: str
    task: str | None
    """None for a network of another program, which does not say."""
    path: Path
    sha256: str
    pinned: str | None
    """Where the same bytes always are; None for what came with the program."""


def pull(which: str, *, sha256: str | None = None, progress: Progress | None = None) -> Pulled:
    """Fetch weights of the hub, unless they are here, and check them.

    ``which`` is ``hf://OWNER/REPO[@REV][/FILE]`` or a name of the catalogue, whose checksum counts; the SHA-256 must be
    ``sha256`` where that is given. ``progress`` is told the bytes that are here and the bytes in all. Errors as for
    :func:`resolve`.
    """
    name = which
    if not which.startswith("hf://"):
        entry = entry_called(which)
        if sha256 is not None and sha256.lower() != entry.sha256.lower():
            raise WeightsError(
                f"{which} is not what was asked for: its checksum in the catalogue is {entry.sha256}, not {sha256}",
                kind="corrupt",
            )
        if entry.hub is None or os.path.isfile(entry.path):
            weights = _of_entry(entry)
            return Pulled(name, weights.task, weights.path, weights.sha256, entry.hub)
        which, sha256 = entry.hub, entry.sha256
    fetched = fetch(which, sha256=sha256, progress=progress)
    try:
        task = of_file(fetched.path, name=name).task
    except WeightsError as error:
        if error.kind != "no_task":
            raise
        task = None
    return Pulled(name, task, fetched.path, sha256_of(fetched.path), fetched.pinned)


def located(which: str) -> Path:
    """The file that a path, or an address of the hub, stands for; errors of the hub as for :func:`resolve`."""
    if which.startswith("hf://"):
        return fetch(which).path
    path = Path(which)
    return path / HF_DEFAULT_FILE if os.path.isdir(path) else path


def _of_entry(entry: Entry) -> Weights:
    if entry.hub is not None and not os.path.isfile(entry.path):
        try:
            return of_file(fetch(entry.hub, sha256=entry.sha256, offline=True).path, name=entry.name)
        except WeightsError as error:
            if error.kind != "offline":
                raise
            raise WeightsError(
                f"{entry.name} is not on this machine: get it with `restore weights pull {entry.name}`", kind="missing"
            ) from error
    if not os.path.isfile(entry.path):
        raise WeightsError(f"{entry.path} is missing: reinstall restorecli, or give --weights FILE", kind="missing")
    digest = _check(entry.path, entry.sha256)
    onnx = entry.onnx_path if entry.onnx_path is not None and os.path.isfile(entry.onnx_path) else None
    if onnx is not None and entry.onnx_sha256 is not None:
        _check(onnx, entry.onnx_sha256)
    return described(entry.path, entry.name, digest, safetensors_metadata(entry.path), onnx)


def _check(path: Path, expected: str) -> str:
    digest = sha256_of(path)
    if digest != expected.lower():
        raise WeightsError(
            f"{path} is damaged (its checksum is not that of the catalogue): reinstall it", kind="corrupt"
        )
    return digest


def _looks_like_path(which: str) -> bool:
    # A folder of that name, which may have come with a download, does not decide what is read: ./NAME does.
    if any(entry.name == which for entry in catalogue()):
        return False
    suffixes = {".safetensors", ".onnx", *PICKLES}
    return Path(which).suffix.lower() in suffixes or os.sep in which or "/" in which or os.path.exists(which)
