"""Short names for photos that lie in one tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from restorecli.photo.names import shown


class Names:
    """What photos are called on a page: their paths from the innermost folder that holds all of them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
        try:
            self._root: str | None = os.path.commonpath(folders)
        except ValueError:  # none, or on several drives
            self._root = None

    def of(self, path: Path) -> str:
        """The name of ``path``, printable, with ``/`` between folders; its whole path where it lies elsewhere."""
        whole = os.path.abspath(path)
        if self._root is not None and Path(whole).is_relative_to(self._root):
            return shown(Path(whole).relative_to(self._root).as_posix())
        return shown(path)
