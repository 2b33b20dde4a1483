"""What holds for every weights file, whatever is in it: its checksum, its pickles, its final name."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from restorecli.photo import atomic

PICKLES = frozenset({".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle", ".tar"})
"""Suffixes of the files that PyTorch pickles."""


@contextlib.contextmanager
def final_name(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name when the block ends well and vanishes when it does not.

    :class:`PhotoError` of kind ``unwritable`` or ``disk_full`` when that fails.
    """
    atomic.remove_remains(path.parent)
    try:
        # A network takes long to make; a wrong folder is more likely a slip than a wish for a new one.
        os.stat(path.parent)
        with atomic.final_name(path, overwrite=True) as temporary:
            yield temporary
    except OSError as error:
        raise atomic.write_failure(path, error) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_pickle(start: bytes) -> bool:
    """Whether a file with these first 9 bytes is a pickle, or a zip archive of them as PyTorch writes it."""
    # A safetensors file may start with the same two bytes, but its ninth opens its header.
    return start[:4] == b"PK\3\4" or (start[:1] == b"\x80" and b"\2" <= start[1:2] <= b"\5" and start[8:] != b"{")


def short(error: BaseException) -> str:
    """The first telling line of a library's error, without its paragraphs."""
    lines: Iterable[str] = (line.strip().rstrip(":.") for line in str(error).splitlines())
    text = "; ".join([line for line in lines if line][:2])
    return text[:160] + ("..." if len(text) > 160 else "") or type(error).__name__
