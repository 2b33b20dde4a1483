"""Restore photos: take haze or rain out of them.

The public Python API is what is listed here and :mod:`restorecli.errors`; everything else may change::

    from restorecli import Restorer, read_photo, write_photo

    restorer = Restorer("dehaze")
    write_photo(restorer.restore(read_photo(source)), target)

``Restorer.restore`` also takes a NumPy array or a Pillow image, and gives back what it was given; ``restore_many``
does so for any number of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restorecli.errors import PhotoError, RestoreError
    from restorecli.inference.restorer import Restorer
    from restorecli.photo import Photo, read_photo, write_photo

__version__ = "0.1.0"
__all__ = ["Photo", "PhotoError", "RestoreError", "Restorer", "__version__", "read_photo", "write_photo"]

_HOMES = {
    "Photo": "restorecli.photo",
    "PhotoError": "restorecli.errors",
    "RestoreError": "restorecli.errors",
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
