"""Weights files: which there are, whether they are sound, and the network that they hold.

A weights file is a safetensors file whose metadata says everything else, all of it text:

* ``format``: ``restorecli-generator-1``
* ``descriptor``: what the engine must know (:meth:`restorecli.models.descriptor.Descriptor.to_json`)
* ``config``: the shape of the network, as JSON
* anything more that whoever made it wants to say (``version``, ``preset``, ``steps``, ...)

An ONNX twin carries the same keys, and ``source_sha256``: the SHA-256 of the weights file that it was made from. It
lies beside the weights file under the same name with ``.onnx``. Pickles are never opened: they run code.

The weights that come with the program are listed in ``weights/weights.toml``::

    [[weights]]
    name = "derain-1"                       # what --weights takes; unique
    task = "derain"                         # or "dehaze"
    default = true                          # what the task uses when nothing is asked for; one a task
    file = "derain.safetensors"             # beside weights.toml, as the other files
    sha256 = "64 hexadecimal digits"
    onnx = "derain.onnx"                    # optional, with its checksum
    onnx_sha256 = "64 hexadecimal digits"
    licence = "Apache-2.0"
    card = "derain.md"

    [weights.figures]                       # optional: measured figures, number or text
    "val/rain_heavy, gain in dB (PSNR-Y)" = 7.4
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restorecli.errors import WeightsError
from restorecli.models.descriptor import TASKS, Descriptor

if TYPE_CHECKING:
    import torch

FORMAT = "restorecli-generator-1"
HF_DEFAULT_FILE = "generator.safetensors"
"""What ``hf://OWNER/REPO`` means when it names no file: what a training run writes."""

_PICKLES = frozenset({".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle", ".tar"})
_REMOVES = {"dehaze": "haze", "derain": "rain"}


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
        return self.path.stat().st_size if self.path.is_file() else None


@dataclass(frozen=True)
class Weights:
    """A weights file that is there and whose metadata make sense; the tensors are not loaded yet."""

    name: str
    """Its name in the catalogue, or the file's name."""
    task: str
    path: Path
    """The ``.safetensors`` file, or the ``.onnx`` file when that is all there is."""
    descriptor: Descriptor
    onnx: Path | None
    """The ONNX twin, when there is one (``path`` itself for an ONNX file)."""
    sha256: str
    """Of ``path``, 64 hexadecimal digits."""
    metadata: Mapping[str, str]


def weights_folder() -> Path:
    """The folder with ``weights.toml``: inside the package when installed, beside it in a clone."""
    package = Path(__file__).resolve().parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


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
    wrong = [entry.name for entry in entries if entry.task not in TASKS]
    if wrong or len({entry.name for entry in entries}) < len(entries):
        raise WeightsError(f"{path} has an unknown task or a name twice: reinstall restorecli", kind="corrupt")
    return entries


def resolve(which: str | None, task: str | None) -> Weights:
    """Find the weights that ``which`` means and check them, without loading any tensor.

    ``which`` is None (the shipped weights of ``task``), a name of the catalogue, a ``.safetensors`` or ``.onnx`` file,
    or ``hf://OWNER/REPO[@REV][/FILE]`` (the only one that uses the network). ``task`` None takes weights of any task
    and needs a ``which``.

    Raises :class:`WeightsError` of kind ``missing``, ``corrupt``, ``wrong_task``, ``refused`` (pickles) or ``offline``.
    """
    if which is None:
        found = [entry for entry in catalogue() if entry.task == task and entry.default]
        if not found:
            raise WeightsError(f"no weights for {task} are shipped: give --weights FILE", kind="missing")
        weights = _of_entry(found[0])
    elif which.startswith("hf://"):
        weights = _of_file(_download(which), name=which)
    elif _looks_like_path(which):
        weights = _of_file(Path(which), name=Path(which).name)
    else:
        weights = _of_entry(_entry(which))
    if task is not None and weights.task != task:
        raise WeightsError(
            f"{weights.name} removes {_REMOVES[weights.task]}, not {_REMOVES[task]}: "
            f"use `restore {weights.task}`, or weights for {task}",
            kind="wrong_task",
        )
    return weights


def verify(name: str) -> Entry:
    """Check all files of the catalogue's entry ``name``: there, of the right checksum, tensors and all.

    :class:`WeightsError` for the first thing that is wrong.
    """
    entry = _entry(name)
    weights = _of_entry(entry)
    if entry.onnx_path is not None and weights.onnx is None:
        raise WeightsError(f"{entry.onnx_path} is missing: reinstall restorecli", kind="missing")
    load_network(weights)
    return entry


def load_network(weights: Weights, dtype: str = "fp32") -> torch.nn.Module:
    """Build the network of a ``.safetensors`` file on the CPU, in evaluation mode, with weights in ``dtype``.

    :class:`WeightsError` when the file does not hold exactly the tensors of the network that its metadata describe.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if weights.path.suffix == ".onnx":
        raise WeightsError(f"{weights.path} is an ONNX file: PyTorch needs the .safetensors file", kind="refused")
    builders = _builders()
    architecture = weights.descriptor.architecture
    if architecture not in builders:
        raise WeightsError(
            f"{weights.path} holds a network of kind {architecture!r}, which this version does not know: "
            "update restorecli",
            kind="corrupt",
        )
    try:
        network = builders[architecture](json.loads(weights.metadata["config"]))
        tensors = load_file(weights.path)
        network.load_state_dict(tensors, strict=True)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{weights.path} does not hold the network that it describes ({_short(error)}): get or make it again",
            kind="corrupt",
        ) from error
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return network.to(types[dtype]).eval()


def save_network(
    path: Path, network: torch.nn.Module, descriptor: Descriptor, extra: Mapping[str, str] | None = None
) -> None:
    """Write a network as an fp16 weights file, atomically; ``extra`` is added to its metadata.

    ``network`` has a ``config_dict()``, as every network of ``restorecli.models``. :class:`WeightsError` of kind
    ``unwritable`` when the file cannot be written, in which case nothing is left behind.
    """
    import torch
    from safetensors.torch import save

    state = network.state_dict()
    tensors = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in state.items()}
    config = network.config_dict()  # type: ignore[operator]
    metadata = dict(extra or {}) | {
        "format": FORMAT,
        "descriptor": descriptor.to_json(),
        "config": json.dumps(config, sort_keys=True),
    }
    data = save(tensors, metadata)
    with final_name(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def final_name(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name when the block ends well and vanishes when it does not.

    :class:`WeightsError` of kind ``unwritable`` when that fails.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".restore-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp's files are for their owner's eyes only.
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}", kind="unwritable") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _builders() -> dict[str, Callable[[dict[str, Any]], torch.nn.Module]]:
    """For each architecture what builds its network from the metadata's ``config``."""
    from restorecli.models.unet import UNet, UNetConfig

    def unet(config: dict[str, Any]) -> torch.nn.Module:
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
        return UNet(UNetConfig(**values))

    return {"unet": unet}


def _entry(name: str) -> Entry:
    entries = {entry.name: entry for entry in catalogue()}
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(entries) or 'none'}"
    raise WeightsError(f"no weights are called {name!r}: {hint} (a file needs its suffix)", kind="missing")


def _of_entry(entry: Entry) -> Weights:
    if not entry.path.is_file():
        raise WeightsError(f"{entry.path} is missing: reinstall restorecli, or give --weights FILE", kind="missing")
    digest = _check(entry.path, entry.sha256)
    onnx = entry.onnx_path if entry.onnx_path is not None and entry.onnx_path.is_file() else None
    if onnx is not None and entry.onnx_sha256 is not None:
        _check(onnx, entry.onnx_sha256)
    return _described(entry.path, entry.name, digest, _safetensors_metadata(entry.path), onnx)


def _check(path: Path, expected: str) -> str:
    digest = sha256_of(path)
    if digest != expected.lower():
        raise WeightsError(
            f"{path} is damaged (its checksum is not that of the catalogue): reinstall it", kind="corrupt"
        )
    return digest


def _looks_like_path(which: str) -> bool:
    suffixes = {".safetensors", ".onnx", *_PICKLES}
    return Path(which).suffix.lower() in suffixes or os.sep in which or "/" in which or Path(which).is_file()


def _of_file(path: Path, *, name: str) -> Weights:
    if not path.is_file():
        raise WeightsError(f"{path} is not there: check --weights", kind="missing")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if path.suffix.lower() in _PICKLES or _is_pickle(start):
            raise WeightsError(
                f"{path} is a pickle, which can run any code when it is opened, and is refused: "
                "give a .safetensors or .onnx file",
                kind="refused",
            )
        digest = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}", kind="missing") from error
    if path.suffix.lower() == ".onnx":
        return _described(path, name, digest, _onnx_metadata(path), path)
    if path.suffix.lower() != ".safetensors":
        raise WeightsError(f"{path} is no weights file: give a .safetensors or .onnx file", kind="refused")
    return _described(path, name, digest, _safetensors_metadata(path), _twin(path, digest))


def _is_pickle(start: bytes) -> bool:
    """Whether a file with these first 9 bytes is a pickle, or a zip archive of them as PyTorch writes it."""
    # A safetensors file may start with the same two bytes, but its ninth opens its header.
    return start[:4] == b"PK\3\4" or (start[:1] == b"\x80" and b"\2" <= start[1:2] <= b"\5" and start[8:] != b"{")


def _twin(path: Path, digest: str) -> Path | None:
    """The ONNX file beside ``path``, when it was made from just this file."""
    onnx = path.with_suffix(".onnx")
    if not onnx.is_file():
        return None
    try:
        return onnx if _onnx_metadata(onnx).get("source_sha256") == digest else None
    except WeightsError:
        return None


def _described(path: Path, name: str, digest: str, metadata: Mapping[str, str], onnx: Path | None) -> Weights:
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no weights file of this program (its metadata do not say {FORMAT}): "
            "give one that restore train wrote",
            kind="corrupt",
        )
    try:
        descriptor = Descriptor.from_json(metadata.get("descriptor", ""))
    except ValueError as error:
        raise WeightsError(f"{path} has damaged metadata ({error}): get or make it again", kind="corrupt") from error
    return Weights(name, descriptor.task, path, descriptor, onnx, digest, metadata)


def _safetensors_metadata(path: Path) -> Mapping[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged or no safetensors file ({_short(error)}): get or make it again", kind="corrupt"
        ) from error


def _onnx_metadata(path: Path) -> Mapping[str, str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged or no ONNX file ({_short(error)}): get or make it again", kind="corrupt"
        ) from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _download(which: str) -> Path:
    """The local copy of ``hf://OWNER/REPO[@REV][/FILE]``."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    owner, _, rest = which.removeprefix("hf://").partition("/")
    repo, _, file = rest.partition("/")
    repo, _, revision = repo.partition("@")
    if not owner or not repo:
        raise WeightsError(f"{which} is not of the form hf://OWNER/REPO[@REV][/FILE]", kind="missing")
    file = file or HF_DEFAULT_FILE
    if Path(file).suffix.lower() in _PICKLES:
        raise WeightsError(f"{which} is a pickle and is refused: choose a .safetensors or .onnx file", kind="refused")
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file, revision=revision or None))
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{which} is not on this machine and the network is not to be had: connect, or give --weights FILE",
            kind="offline",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise WeightsError(f"{which} is not there ({_short(error)})", kind="missing") from error
    except (HfHubHTTPError, OSError) as error:
        raise WeightsError(f"{which} cannot be downloaded now ({_short(error)})", kind="offline") from error


def _short(error: BaseException) -> str:
    """The first telling line of a library's error, without its paragraphs."""
    lines: Iterable[str] = (line.strip().rstrip(":.") for line in str(error).splitlines())
    text = "; ".join([line for line in lines if line][:2])
    return text[:160] + ("..." if len(text) > 160 else "") or type(error).__name__
