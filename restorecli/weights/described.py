"""What a weights file says about itself, read without loading any tensor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from restorecli.errors import WeightsError
from restorecli.models.descriptor import Descriptor
from restorecli.weights.files import PICKLES, is_pickle, sha256_of, short
from restorecli.weights.foreign import PICKLES as foreign_pickles
from restorecli.weights.foreign import described_by_spandrel
from restorecli.weights.guards import check_descriptor, check_safetensors_header, refuse_external_data
from restorecli.weights.ranges import Ranges
from restorecli.weights.ranges import from_metadata as ranges_of

FORMAT = "restorecli-generator-1"


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
    ranges: Ranges = field(default_factory=dict)
    """Between which values the inputs of its layers lie, where that was measured: it can be computed in 8 bits then."""

    @property
    def is_onnx(self) -> bool:
        """Whether an ONNX file is all there is, which PyTorch does not run."""
        return self.path == self.onnx


def of_file(path: Path, *, name: str, task: str | None = None) -> Weights:
    """The weights in a ``.safetensors`` or ``.onnx`` file, or of another program in one that spandrel reads, which are
    taken to be for ``task``; :class:`WeightsError` for any other file, unopened."""
    if not os.path.isfile(path):
        raise WeightsError(f"{path} is not there: check the path", kind="missing")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        foreign = path.suffix.lower() in foreign_pickles
        if not foreign and (path.suffix.lower() in PICKLES or is_pickle(start)):
            raise WeightsError(
                f"{path} is a pickle, which can run any code when it is opened, and is refused: "
                "give a .safetensors or .onnx file",
                kind="refused",
            )
        digest = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}", kind="missing") from error
    if foreign:
        return _of_stranger(path, name, digest, task)
    if path.suffix.lower() == ".onnx":
        return described(path, name, digest, onnx_metadata(path), path)
    if path.suffix.lower() != ".safetensors":
        raise WeightsError(f"{path} is no weights file: give a .safetensors or .onnx file", kind="refused")
    metadata = safetensors_metadata(path)
    if "format" not in metadata:
        return _of_stranger(path, name, digest, task)
    return described(path, name, digest, metadata, _twin(path, digest))


def described(path: Path, name: str, digest: str, metadata: Mapping[str, str], onnx: Path | None) -> Weights:
    """The weights in ``path``, whose checksum is ``digest``; :class:`WeightsError` when its metadata make no sense."""
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no weights file of this program (its metadata do not say {FORMAT}): "
            "give one that restore train wrote",
            kind="corrupt",
        )
    try:
        descriptor = Descriptor.from_json(metadata.get("descriptor", ""))
        ranges = ranges_of(metadata)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} has damaged metadata ({error}): get or make it again", kind="corrupt") from error
    check_descriptor(descriptor, path)
    return Weights(name, descriptor.task, path, descriptor, onnx, digest, metadata, ranges)


def _of_stranger(path: Path, name: str, digest: str, task: str | None) -> Weights:
    descriptor = described_by_spandrel(path, task)
    return Weights(name, descriptor.task, path, descriptor, None, digest, {})


def _twin(path: Path, digest: str) -> Path | None:
    """The ONNX file beside ``path``, when it was made from just this file."""
    onnx = path.with_suffix(".onnx")
    if not os.path.isfile(onnx):
        return None
    try:
        return onnx if onnx_metadata(onnx).get("source_sha256") == digest else None
    except WeightsError:
        return None


def safetensors_metadata(path: Path) -> Mapping[str, str]:
    """The metadata of a ``.safetensors`` file; :class:`WeightsError` of kind ``corrupt`` when it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        check_safetensors_header(path)
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged or no safetensors file ({short(error)}): get or make it again", kind="corrupt"
        ) from error


def onnx_metadata(path: Path) -> Mapping[str, str]:
    """The metadata of an ONNX file; :class:`WeightsError` of kind ``corrupt`` when it is none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged or no ONNX file ({short(error)}): get or make it again", kind="corrupt"
        ) from error
    refuse_external_data(model, path)
    return {entry.key: entry.value for entry in model.metadata_props}
