"""What runs a network: an array in, an array out.

A backend knows nothing of photos, tiles or files, and it never changes the subject: when memory runs out it raises
:class:`OutOfMemory` and leaves the rest to its caller.
"""

from restorecli.inference.backends.base import Backend, NotFinite, OutOfMemory, Pending, Window, failing, run
from restorecli.inference.backends.selection import BACKENDS, DEVICES, PRECISIONS, open_backend

__all__ = [
    "BACKENDS",
    "DEVICES",
    "PRECISIONS",
    "Backend",
    "NotFinite",
    "OutOfMemory",
    "Pending",
    "Window",
    "failing",
    "open_backend",
    "run",
]
