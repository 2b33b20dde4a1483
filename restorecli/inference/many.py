"""Many photos through one restorer: files are read while the photo before them is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

from restorecli.errors import PhotoError
from restorecli.photo import Photo, read_photo

Given = TypeVar("Given")


def restore_each(
    photos: Iterable[Given],
    restore: Callable[[Given | Photo], Any],
    *,
    progress: Callable[[int, int | None], None] | None,
    return_errors: bool,
) -> Iterator[Any]:
    """What ``restore`` makes of each photo, in order; a path is read one photo ahead, and given to it as a Photo.

    ``progress`` is told the photos done and the photos in all, None where ``photos`` has no length. A
    :class:`PhotoError` ends the iteration, or with ``return_errors`` stands in the place of its photo.
    """
    total = len(photos) if isinstance(photos, Sized) else None
    with ThreadPoolExecutor(1, "read") as reader:

        def begin(photo: Given) -> Given | Future[Photo]:
            return reader.submit(read_photo, Path(photo)) if isinstance(photo, str | Path) else photo

        source = (begin(photo) for photo in photos)
        ahead = deque(islice(source, 1))
        for done in count(1):
            if not ahead:
                return
            ahead.extend(islice(source, 1))
            given = ahead.popleft()
            try:
                result = restore(given.result() if isinstance(given, Future) else given)
            except PhotoError as error:
                if not return_errors:
                    raise
                result = error
            if progress is not None:
                progress(done, total)
            yield result
