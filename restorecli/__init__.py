"""Restore photos: take haze or rain out of them.

The public Python API is what is listed here; everything else may change::

    from restorecli import Restorer, read_photo, write_photo

    restorer = Restorer("dehaze")
    write_photo(restorer.restore(read_photo(source)), target)

``Restorer.restore`` also takes a NumPy array or a Pillow image, and gives back what it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restorecli.inference.restorer import Restorer
    from restorecli.photo import read_photo, write_photo

__version__ = "0.1.0"
__all__ = ["Restorer", "__version__", "read_photo", "write_photo"]

_HOMES = {
    "Restorer": "restorecli.inference.restorer",
    "read_photo": "restorecli.photo",
    "write_photo": "restorecli.photo",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `restore --help` need not wait for the libraries behind the engine.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
