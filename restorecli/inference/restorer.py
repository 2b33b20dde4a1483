"""What Python programs use: photos, arrays, Pillow images and paths in, the same out, restored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
from PIL import Image

from restorecli.errors import PhotoError, UsageError
from restorecli.inference.backends import open_backend
from restorecli.inference.backends.selection import check_names
from restorecli.inference.engine import Details, Engine, Progress
from restorecli.inference.many import restore_each
from restorecli.models.descriptor import TASKS, VIEWS
from restorecli.photo import Photo, read_photo
from restorecli.weights import Weights, resolve

Array = TypeVar("Array", bound=np.ndarray)
ManyProgress = Callable[[int, int | None], None]


def check_arguments(
    task: str,
    *,
    backend: str,
    device: str,
    precision: str,
    tile: int | str,
    max_memory: int | None,
    strength: float,
    ensemble: int | str = "auto",
) -> None:
    """:class:`UsageError` for values that :class:`Restorer` could not make sense of on any machine."""
    if task not in TASKS:
        raise UsageError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
    if not isinstance(strength, Real) or not 0 <= strength <= 1:
        raise UsageError(f"--strength must be from 0 to 1, not {strength}")
    if tile != "auto" and (not isinstance(tile, int) or tile < 16):
        raise UsageError(f"--tile must be auto or a number of pixels from 16 on, not {tile}")
    if max_memory is not None and (not isinstance(max_memory, Real) or max_memory < 1):
        raise UsageError(f"--max-memory must be a positive number of bytes, not {max_memory!r}")
    if ensemble != "auto" and ensemble not in VIEWS:
        raise UsageError(f"--ensemble must be auto, 1, 2, 4 or 6, not {ensemble}")
    if task == "dehaze" and ensemble in (4, 6):
        raise UsageError(f"--ensemble {ensemble} turns photos upside down, in which only rain looks the same: give 2")
    check_names(backend, device, precision)


class Restorer:
    """Restores photos with one set of weights on one backend; loaded once, used for any number of photos.

    Not for several threads at once.
    """

    def __init__(
        self,
        task: str,
        *,
        weights: str | Path | Weights | None = None,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        tile: int | str = "auto",
        max_memory: int | None = None,
        strength: float = 1.0,
        ensemble: int | str = "auto",
        stamp: bool = False,
        work: int = 0,
        neighbours: int = 0,
    ) -> None:
        """Load the weights.

        ``task`` is ``dehaze`` or ``derain``; ``weights`` a name, a file or ``hf://OWNER/REPO`` (None: the shipped
        ones); ``backend`` ``auto``, ``torch``, ``onnx`` or ``openvino``; ``device`` ``auto``, ``cpu``, ``cuda`` or
        ``cuda:N``; ``precision`` ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``; ``tile`` the edge of a tile in
        pixels or ``auto``; ``max_memory`` a bound in bytes on the memory of the process (of the device, on CUDA);
        ``strength`` from 0 (the photo as it was) to 1 (as restored); ``ensemble`` of how many views of the photo the
        mean is taken, 1, 2 (its mirror image too) or, for rain, 4 (both upside down too) or 6 (the first two enlarged
        by half too), or ``auto``: as many as take no longer than a photo of 1.9 megapixels; ``stamp`` notes in the
        metadata of each :class:`Photo` what was done to it; ``work`` how many pixels are going to be restored, as far
        as that is known (where much is ahead, and this machine is new, ``auto`` measures first what is fastest);
        ``neighbours`` how many more photos of the size are read and written meanwhile, for ``max_memory``.

        Raises :class:`UsageError` for a value that makes no sense, :class:`~restorecli.errors.WeightsError` and
        :class:`BackendError` for what is not to be had.
        """
        check_arguments(
            task,
            backend=backend,
            device=device,
            precision=precision,
            tile=tile,
            max_memory=max_memory,
            strength=strength,
            ensemble=ensemble,
        )
        self.task = task
        given = weights if weights is None or isinstance(weights, Weights) else str(weights)
        self.weights = given if isinstance(given, Weights) else resolve(given, task)
        opened = open_backend(self.weights, backend=backend, device=device, precision=precision, work=work)
        self.engine = Engine(
            self.weights,
            opened,
            tile=tile,
            max_memory=max_memory,
            neighbours=neighbours,
            strength=float(strength),
            ensemble=ensemble,
            stamp=stamp,
        )
        self.backend = opened

    @overload
    def restore(self, photo: Photo | str | Path, *, progress: Progress | None = None) -> Photo: ...
    @overload
    def restore(self, photo: Array, *, progress: Progress | None = None) -> Array: ...
    @overload
    def restore(self, photo: Image.Image, *, progress: Progress | None = None) -> Image.Image: ...
    def restore(self, photo: Any, *, progress: Progress | None = None) -> Any:
        """Restore a photo and give back what was given: a :class:`Photo`, an array or a Pillow image.

        A path gives a :class:`Photo`. An array is (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGB and alpha, uint8
        or uint16 over the type's full range. A Pillow image keeps its mode if it is L, LA, RGB, RGBA or I;16, others
        come back as RGB; one with a transparent colour or palette entry comes back with an alpha channel instead.
        ``progress`` is told the pixels done and the pixels in all.

        Raises :class:`PhotoError` when the photo cannot be read or restored, :class:`UsageError` for anything that is
        no photo.
        """
        if isinstance(photo, str | Path):
            return self.restore_photo(read_photo(Path(photo)), progress)[0]
        if isinstance(photo, Photo):
            return self.restore_photo(photo, progress)[0]
        if isinstance(photo, np.ndarray):
            return self._restore_array(photo, progress)
        if isinstance(photo, Image.Image):
            pixels = np.asarray(_of_known_mode(photo))
            restored = Image.fromarray(self._restore_channels(np.atleast_3d(pixels), progress).reshape(pixels.shape))
            restored.info = {key: value for key, value in photo.info.items() if key != "transparency"}
            return restored
        raise UsageError(f"a photo is a Photo, a NumPy array, a Pillow image or a path, not {type(photo).__name__}")

    @overload
    def restore_many(
        self,
        photos: Iterable[Photo | str | Path],
        *,
        progress: ManyProgress | None = None,
        return_errors: Literal[False] = False,
    ) -> Iterator[Photo]: ...
    @overload
    def restore_many(
        self,
        photos: Iterable[Photo | str | Path],
        *,
        progress: ManyProgress | None = None,
        return_errors: Literal[True],
    ) -> Iterator[Photo | PhotoError]: ...
    @overload
    def restore_many(
        self, photos: Iterable[Array], *, progress: ManyProgress | None = None, return_errors: Literal[False] = False
    ) -> Iterator[Array]: ...
    @overload
    def restore_many(
        self, photos: Iterable[Array], *, progress: ManyProgress | None = None, return_errors: Literal[True]
    ) -> Iterator[Array | PhotoError]: ...
    @overload
    def restore_many(
        self,
        photos: Iterable[Image.Image],
        *,
        progress: ManyProgress | None = None,
        return_errors: Literal[False] = False,
    ) -> Iterator[Image.Image]: ...
    @overload
    def restore_many(
        self, photos: Iterable[Image.Image], *, progress: ManyProgress | None = None, return_errors: Literal[True]
    ) -> Iterator[Image.Image | PhotoError]: ...
    def restore_many(
        self, photos: Iterable[Any], *, progress: ManyProgress | None = None, return_errors: bool = False
    ) -> Iterator[Any]:
        """Restore photos one after the other, each as :meth:`restore` does, and give them back in their order.

        ``photos`` may be any iterable, endless ones too: no more than two photos of it are held at a time, and a file
        is read while the photo before it is computed. Nothing is done before the first result is asked for.
        ``progress`` is told the photos done and the photos in all (None where ``photos`` has no length).

        A photo that cannot be read or restored raises its :class:`PhotoError` and ends the iteration; with
        ``return_errors`` the error stands in the photo's place, and the others go on. :class:`UsageError` for a
        single path, at once, and for anything that is no photo.
        """
        if isinstance(photos, str | Path):
            raise UsageError(f"{photos} is one photo: restore_many takes several, restore takes one")
        return restore_each(photos, self.restore, progress=progress, return_errors=return_errors)

    def restore_photo(self, photo: Photo, progress: Progress | None = None) -> tuple[Photo, Details]:
        """Restore a :class:`Photo`: its pixels change, its alpha channel and what it carries (but the stamp) do not.

        Colours under fully transparent pixels stay as they are, and are not seen by the network.

        ``progress`` and errors as for :meth:`restore`.
        """
        return self.engine.start(photo, progress).wait()

    def _restore_array(self, array: np.ndarray, progress: Progress | None) -> np.ndarray:
        if array.dtype not in (np.uint8, np.uint16) or array.size == 0:
            raise UsageError(f"an array must be uint8 or uint16 and not empty, not {array.dtype} {array.shape}")
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
            raise UsageError(f"an array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {array.shape}")
        return self._restore_channels(np.atleast_3d(array), progress).reshape(array.shape)

    def _restore_channels(self, array: np.ndarray, progress: Progress | None) -> np.ndarray:
        """(H, W, 1 to 4) of grey, grey and alpha, RGB or RGBA, and the same back."""
        colours = 1 if array.shape[2] <= 2 else 3
        alpha = array[..., colours] if array.shape[2] > colours else None
        restored = self.restore_photo(Photo(array[..., :colours], alpha), progress)[0].pixels
        return restored if alpha is None else np.dstack([restored, alpha])


def _of_known_mode(image: Image.Image) -> Image.Image:
    """The image in mode L, LA, RGB, RGBA or I;16; :class:`UsageError` where only a guess could bring it there."""
    mode = image.mode
    if mode == "F" or (mode.startswith("I") and mode != "I;16"):
        raise UsageError(f"a Pillow image of mode {mode} has no range of values to go by: convert it to L, RGB or I;16")
    if mode in ("PA", "RGBa") or ("transparency" in image.info and mode in ("1", "L", "P", "RGB")):
        return image.convert("LA" if mode in ("1", "L") else "RGBA")
    if mode == "La":
        return image.convert("LA")
    return image if mode in ("L", "LA", "RGB", "RGBA", "I;16") else image.convert("RGB")
