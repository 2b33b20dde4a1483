"""What is refused of a weights file that nobody vouches for, before memory is taken or another file opened for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from restorecli.errors import WeightsError
from restorecli.models.descriptor import Descriptor

_LARGEST_HEADER = 16_000_000
_LARGEST_CONFIG = 65_536
_LARGEST_STRIDE, _LARGEST_HALO, _LARGEST_THUMBNAIL = 4096, 1_000_000, 4096
_EXTERNAL = 1


def check_safetensors_header(path: Path) -> None:
    """Refuse a ``.safetensors`` file whose header is longer than any network's (kind ``corrupt``).

    That each tensor lies within the file and fills its shape is checked by the library that reads it.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _LARGEST_HEADER:
        raise WeightsError(
            f"{path} is damaged or no safetensors file (a header of {length:,} bytes): get or make it again",
            kind="corrupt",
        )


def check_descriptor(descriptor: Descriptor, path: Path) -> None:
    """Refuse lengths that no network has, and that memory would be taken for (kind ``corrupt``)."""
    limits = {"stride": _LARGEST_STRIDE, "halo": _LARGEST_HALO, "thumbnail": _LARGEST_THUMBNAIL}
    for name, limit in limits.items():
        if getattr(descriptor, name) > limit:
            raise WeightsError(
                f"{path} has damaged metadata ({name} is more than {limit:,}): get or make it again", kind="corrupt"
            )


def check_config(config: object) -> None:
    """:class:`ValueError` for a network of so many layers or channels that building it would take minutes."""
    if _sum(config) > _LARGEST_CONFIG:
        raise ValueError("a network larger than any")


def refuse_external_data(model: Any, path: Path) -> None:
    """Refuse an ONNX model any part of which lies in another file (kind ``refused``): it may name any file there is."""
    if _is_external(model):
        raise WeightsError(
            f"{path} keeps tensors in other files and is refused: give an ONNX file that is whole by itself, as "
            "`restore export --onnx` makes them",
            kind="refused",
        )


def stays_inside(name: str) -> bool:
    """Whether a file's name, joined to a folder, is one below that folder on every system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    absolute = posix.is_absolute() or bool(windows.anchor)
    return bool(name) and not absolute and ".." not in (*posix.parts, *windows.parts)


def _sum(value: object) -> float:
    """All numbers in a value that was JSON, added up without their signs."""
    if isinstance(value, int | float):
        return abs(value)
    if isinstance(value, dict):
        return sum(map(_sum, value.values()))
    return sum(map(_sum, value)) if isinstance(value, list) else 0


def _is_external(message: Any) -> bool:
    if message.DESCRIPTOR.name == "TensorProto":
        return message.data_location == _EXTERNAL or bool(message.external_data)
    for field, value in message.ListFields():
        if field.message_type is not None:
            parts = value if isinstance(value, Iterable) else [value]
            if any(_is_external(part) for part in parts):
                return True
    return False
