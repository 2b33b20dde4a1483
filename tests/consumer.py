"""A program of somebody else's, which is type-checked and never run: what each call of the public API gives."""

# mypy: disallow-any-generics, disallow-untyped-calls, warn-return-any

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt
from PIL import Image

from restorecli import Photo, PhotoError, RestoreError, Restorer, __version__, read_photo, write_photo
from restorecli.errors import BackendError, UsageError, WeightsError


def told(done: int, total: int) -> None:
    print(done / total)


def told_of_many(done: int, total: int | None) -> None:
    print(done, total)


def use(array: npt.NDArray[np.uint16], image: Image.Image) -> None:
    restorer = Restorer("dehaze", weights=Path("mine.safetensors"), device="cpu", tile=512, strength=0.5)
    assert_type(restorer.restore("photo.jpg"), Photo)
    assert_type(restorer.restore(Path("photo.jpg"), progress=told), Photo)
    assert_type(restorer.restore(array), npt.NDArray[np.uint16])
    assert_type(restorer.restore(image), Image.Image)
    assert_type(restorer.restore_many(Path().glob("*.jpg")), Iterator[Photo])
    assert_type(restorer.restore_many([array], progress=told_of_many), Iterator[npt.NDArray[np.uint16]])
    assert_type(restorer.restore_many([image], return_errors=True), Iterator[Image.Image | PhotoError])
    assert_type(restorer.restore_photo(read_photo("photo.jpg"))[1].device, str)
    write_photo(restorer.restore("photo.jpg"), "restored.jpg", quality=90, overwrite=True)

    restorer.restore(3)  # type: ignore[call-overload]
    restorer.restore_many([3])  # type: ignore[list-item]
    write_photo(array, "restored.jpg")  # type: ignore[arg-type]
    Restorer("dehaze", tle=512)  # type: ignore[call-arg]


def kind(error: RestoreError | BackendError | UsageError | WeightsError) -> str:
    return f"{__version__}: {error.kind}"
