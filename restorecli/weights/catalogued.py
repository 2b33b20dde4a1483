"""The weights that come with the program, as ``weights.toml`` lists them."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from restorecli.errors import WeightsError
from restorecli.models.descriptor import TASKS
from restorecli.weights.guards import stays_inside


@dataclass(frozen=True)
class Entry:
    """One ``[[weights]]`` of ``weights.toml``; the files may be missing or damaged (see :func:`verify`)."""

    name: str
    task: str
    file: str
    sha256: str
    licence: str
    card: str
    default: bool = False
    onnx: str | None = None
    onnx_sha256: str | None = None
    hub: str | None = None
    """Where ``restore weights pull`` gets the weights file from when it does not lie beside the list."""
    figures: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the weights file should be."""
        return weights_folder() / self.file

    @property
    def onnx_path(self) -> Path | None:
        """Where the ONNX twin should be, when there is to be one."""
        return weights_folder() / self.onnx if self.onnx else None

    @property
    def size(self) -> int | None:
        """Bytes of the weights file, None when it is not there."""
        return self.path.stat().st_size if os.path.isfile(self.path) else None


def weights_folder() -> Path:
    """The folder with ``weights.toml``: inside the package when installed, beside it in a clone."""
    here = Path(__file__).resolve().parent
    installed = here / "shipped"
    return installed if os.path.isdir(installed) else here.parents[1] / "weights"


def catalogue() -> list[Entry]:
    """All entries of ``weights.toml``, in its order; :class:`WeightsError` when it is missing or malformed."""
    path = weights_folder() / "weights.toml"
    try:
        with path.open("rb") as file:
            rows = tomllib.load(file).get("weights", [])
        entries = [Entry(**row) for row in rows]
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path} is missing, so there are no shipped weights: reinstall restorecli, or give --weights FILE",
            kind="missing",
        ) from error
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): reinstall restorecli", kind="corrupt") from error
    for entry in entries:
        names = (entry.name, entry.file, entry.card, entry.onnx or entry.file)
        if not all(isinstance(name, str) and stays_inside(name) for name in names):
            raise WeightsError(f"{path} names a file outside its folder: reinstall restorecli", kind="corrupt")
    wrong = [entry.name for entry in entries if entry.task not in TASKS]
    if wrong or len({entry.name for entry in entries}) < len(entries):
        raise WeightsError(f"{path} has an unknown task or a name twice: reinstall restorecli", kind="corrupt")
    return entries


def entry_called(name: str) -> Entry:
    """The entry ``name``; :class:`WeightsError` of kind ``missing``, with the nearest name there is."""
    entries = {entry.name: entry for entry in catalogue()}
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(entries) or 'none'}"
    raise WeightsError(f"no weights are called {name!r}: {hint}", kind="missing")
