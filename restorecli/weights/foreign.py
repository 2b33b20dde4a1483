"""Other people's networks, through spandrel: which one a file holds, and what the engine must know of it.

spandrel is an extra, and says much of a network but not how far it looks around a pixel, which the overlap of tiles
depends on, nor what memory it takes. Both are measured once, on a small photo of noise.
"""

from __future__ import annotations

import functools
import logging
import math
import pickle
import tarfile
import warnings
import weakref
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restorecli.errors import WeightsError
from restorecli.models.descriptor import TASKS, Descriptor
from restorecli.weights.files import short

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

PICKLES = frozenset({".pth", ".ckpt"})
"""Suffixes of pickles that spandrel reads, with an unpickler that knows tensors and nothing else."""
PREFIX = "spandrel:"
"""What the architecture of such a network begins with."""

_WHOLE = 1 << 20
"""The halo of a network that makes tiles of its own and is given the whole photo: more than any photo has."""
_FAR = 192
"""How far a network may look, in pixels, before the whole photo is taken to matter to it."""
_NEAR = 32
"""The least overlap: noise may not show all that a network can see."""
_ALIGNED = 16
"""Tiles begin at multiples of this: many networks halve the photo up to four times, or cut it into windows of 8 or 16,
and pad to that themselves without saying so."""
_UNSEEN = 0.25 / 255
"""A difference in the output that no photo of 8 bits shows."""


@dataclass(frozen=True)
class Foreign:
    """What is known of a network of spandrel."""

    architecture: str
    """spandrel's name of it, for example ``SCUNet``."""
    parameters: int
    stride: int
    halo: int
    whole: bool
    """Whether every pixel depends on the whole photo, so that tiles are not exact."""
    dtypes: tuple[str, ...]
    features: float
    """As in :class:`~restorecli.models.descriptor.Descriptor`."""

    def descriptor(self, task: str) -> Descriptor:
        """The same for the engine."""
        return Descriptor(
            task=task,
            architecture=PREFIX + self.architecture,
            stride=self.stride,
            halo=self.halo,
            thumbnail=0,
            dtypes=self.dtypes,
            features=self.features,
        )


def is_foreign(architecture: str) -> bool:
    """Whether a descriptor's architecture is one of spandrel's."""
    return architecture.startswith(PREFIX)


def described_by_spandrel(path: Path, task: str | None) -> Descriptor:
    """What the engine must know of the network in a file of somebody else's, which says not what it removes: ``task``.

    Raises :class:`WeightsError` of kind ``extra`` without spandrel, ``no_task`` where ``task`` is None, ``refused`` for
    files that could do more than hold numbers, ``unsuitable`` for networks that do not restore one RGB photo at its
    size, and ``corrupt`` for everything that spandrel does not know.
    """
    found = examine(path)
    if task is None:
        raise WeightsError(
            f"{path} holds a {found.architecture} of another program, which says not what it removes: it can be used "
            f"with {' or '.join(f'`restore {name}`' for name in TASKS)} --weights, and for nothing else",
            kind="no_task",
        )
    return found.descriptor(task)


def load_foreign(path: Path) -> torch.nn.Module:
    """The network of a file, on the CPU in fp32 and evaluation mode; called as those of ``restorecli.models``.

    Errors as for :func:`described_by_spandrel`.
    """
    return _module(_read(path))


def examine(path: Path) -> Foreign:
    """What is known of the network in a file; errors as for :func:`described_by_spandrel`."""
    status = path.stat()
    return _examined(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _examined(path: Path, size: int, changed: int) -> Foreign:
    del size, changed  # they tell one file from another that took its name
    model = _read(path)
    network = _module(model)
    # What is smaller than the network can take, or must be a square, spandrel pads by itself.
    stride = math.lcm(model.size_requirements.multiple_of, _ALIGNED)
    try:
        reach, peak = _measured(network, stride)
    except Exception as error:  # whatever a stranger's network may raise
        raise WeightsError(
            f"{path} holds a {model.architecture.name} that does not run ({type(error).__name__}: {short(error)})",
            kind="unsuitable",
        ) from error
    halo = reach or _FAR
    if reach is None:
        _log.warning(
            "%s looks further than %d pixels around each: a photo that does not fit into one tile comes out slightly "
            "different from tile to tile; --tile with a large number makes fewer of them",
            path.name,
            _FAR,
        )
    if model.tiling.name == "INTERNAL":
        halo = _WHOLE
    dtypes = ["fp32"]
    dtypes += ["bf16"] if model.supports_bfloat16 else []
    dtypes += ["fp16"] if model.supports_half else []
    return Foreign(
        architecture=model.architecture.id,
        parameters=sum(value.numel() for value in network.parameters()),
        stride=stride,
        halo=halo,
        whole=reach is None or model.tiling.name != "SUPPORTED",
        dtypes=tuple(dtypes),
        # The engine counts twelve of the widest layers' outputs, of four bytes a value, at once.
        features=max(1.0, 1.36 * peak / (12 * 4)),
    )


def _read(path: Path) -> Any:
    """spandrel's descriptor of the model in a file."""
    spandrel = _spandrel(path)
    _refuse_what_may_run(path)
    try:
        loader = spandrel.ModelLoader(device="cpu")
        state = loader.load_state_dict_from_file(path)
        # Tensors may claim any size without holding it, and the network is built as large as they claim.
        claimed = sum(value.numel() * value.element_size() for value in state.values() if hasattr(value, "numel"))
        if claimed > 4 * path.stat().st_size:
            raise WeightsError(f"{path} claims tensors much larger than itself, and is refused", kind="refused")
        with warnings.catch_warnings(action="ignore"):
            model = loader.load_from_state_dict(state)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is a pickle of more than tensors ({short(error)}), which can run any code, and is refused: ask "
            "for a .safetensors file",
            kind="refused",
        ) from error
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(
            f"{path} is no weights file of this program, and no network that spandrel {spandrel.__version__} knows",
            kind="corrupt",
        ) from error
    except Exception as error:  # of reading or of building, from libraries that promise nothing about their errors
        raise WeightsError(
            f"{path} is damaged, or no weights file ({type(error).__name__}: {short(error)}): get it again",
            kind="corrupt",
        ) from error
    _refuse_unsuitable(path, model, spandrel)
    return model


def _refuse_what_may_run(path: Path) -> None:
    """PyTorch reads files of several kinds under one name; only those that hold tensors get that far."""
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix.lower() not in PICKLES:
        return
    # As PyTorch wrote before 1.6; before 0.4 it was a tape archive, which is unpacked onto the disk.
    if start[:2] == b"\x80\x02" and not tarfile.is_tarfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsError(f"{path} is damaged, or no file of PyTorch: get it again", kind="refused") from error
    if any(entry.filename.rpartition("/")[2] == "constants.pkl" for entry in entries):
        raise WeightsError(f"{path} holds TorchScript, which is code, and is refused: ask for tensors", kind="refused")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsError(f"{path} is compressed, as PyTorch never writes it, and is refused", kind="refused")


def _refuse_unsuitable(path: Path, model: Any, spandrel: Any) -> None:
    name = model.architecture.name
    if not isinstance(model, spandrel.ImageModelDescriptor):
        problem = "fills in masked places"
    elif model.scale != 1:
        problem = f"makes photos {model.scale} times larger"
    elif model.purpose == "FaceSR":
        problem = "makes faces"
    elif (model.input_channels, model.output_channels) != (3, 3):
        problem = f"takes {model.input_channels} channels and gives {model.output_channels}"
    else:
        return
    raise WeightsError(
        f"{path} holds a {name} that {problem}: only networks that restore one RGB photo at its own size can be used",
        kind="unsuitable",
    )


def _spandrel(path: Path) -> Any:
    from restorecli.beside_torch import imported

    try:
        return imported("spandrel")
    except ImportError as error:
        raise WeightsError(
            f"{path} is no weights file of this program; for other people's networks install spandrel: "
            f"pip install 'restorecli[spandrel]' ({short(error)})",
            kind="extra",
        ) from error


def _module(model: Any) -> torch.nn.Module:
    """spandrel's model as the engine calls networks."""
    import torch

    class ForeignNetwork(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model.model

        def forward(self, photo: torch.Tensor, *of_the_whole: torch.Tensor) -> torch.Tensor:
            dtype = next(self.network.parameters()).dtype
            # It pads what is smaller than the network can take, and cuts the result.
            restored: torch.Tensor = model(photo.to(dtype).contiguous())
            # What comes after, in levels of up to 65535, is more than a narrow type holds.
            return restored.to(photo.dtype)

        def to(self, *values: Any, **options: Any) -> ForeignNetwork:
            # Many architectures look at their tensors in ways that only the usual order in memory allows.
            options.pop("memory_format", None)
            return super().to(*values, **options)

    return ForeignNetwork().float().eval()


def _measured(network: torch.nn.Module, stride: int) -> tuple[int | None, float]:
    """How many pixels around itself an output pixel depends on, with a margin (None: more than _FAR), and the bytes of
    memory for each pixel in fp32."""
    import torch

    generator = torch.Generator().manual_seed(0)
    height, left, right = (-(-length // stride) * stride for length in (32, _FAR, 64))
    photo = torch.rand(1, 3, height, left + right, generator=generator) * 0.5
    other = photo.clone()
    other[..., left:] = 1 - photo[..., left:]
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        with _peak_mode() as peak:
            first = network(photo)
        difference = (network(other) - first).abs().amax(dim=(0, 1, 2))[:left]
    changed = (difference > _UNSEEN).nonzero()
    reach = left - int(changed[0]) if len(changed) else 0
    # What is found is what this noise shows; an eighth of it again costs little.
    reach = max(_NEAR, reach + reach // 8)
    return (reach if reach <= _FAR else None), peak.bytes / (height * (left + right))


def _peak_mode() -> Any:
    """A context in which the most bytes that tensors hold at once are counted, as ``bytes``."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Peak(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.bytes = self.held = 0
            self.known: set[int] = set()

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                storage = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else None
                if storage is not None and storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.held += storage.nbytes()
                    self.bytes = max(self.bytes, self.held)
                    weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
            return result

        def gone(self, storage: int, size: int) -> None:
            self.known.discard(storage)
            self.held -= size

    return Peak()
