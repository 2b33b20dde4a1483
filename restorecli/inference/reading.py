"""Reading photos within the bound on memory: what cannot be restored in it is refused by its header."""

from __future__ import annotations

from pathlib import Path

from restorecli.errors import PhotoError
from restorecli.photo import Photo, read_photo
from restorecli.photo.names import shown


def read_within(source: Path | bytes, max_pixels: int, fitting: int | None, name: str | None = None) -> Photo:
    """Read a photo of at most ``max_pixels`` pixels, and of ``fitting``, where that is how many fit into the memory.

    ``name`` is what messages call it. :class:`PhotoError` as of :func:`restorecli.photo.read_photo`, and of the kind
    ``out_of_memory``.
    """
    most = max_pixels if fitting is None else min(max_pixels, fitting)
    try:
        return read_photo(source, max_pixels=most, name=name)
    except PhotoError as error:
        if error.kind != "too_large" or most == max_pixels:
            raise
        label = shown(name or ("the photo" if isinstance(source, bytes) else source))
        raise PhotoError(
            f"{label}: is too large for --max-memory, which holds a photo of {most / 1e6:,.3g} MP at most; give more",
            kind="out_of_memory",
        ) from error
