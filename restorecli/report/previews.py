"""Two photos of one scene, before and after, as pictures small enough for a page.

A page of few photos shows them whole. The more there are, the smaller each is: then there is also a detail, cut out of
both where the photo gained or lost most structure, at the photo's own resolution.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from restorecli.photo import Photo
from restorecli.report.colour import as_shown

PAGE_BYTES = 96_000_000
"""What the pictures of a page may take together, shared evenly; in the page they take a third more."""
_LEAST_SHARE, _MOST_SHARE = 32_000, 8_000_000
_LARGEST_PIXELS, _LARGEST_EDGE = 16_000_000, 8192
"""What phones still decode and draw without fail."""
_THUMBNAIL_EDGE, _LEAST_EDGE = 240, 160
_FINE = {"quality": 90, "subsampling": 0}
_COARSE = {"quality": 82, "subsampling": 2}
_FINE_BYTES, _COARSE_BYTES = 0.33, 0.2
"""What a pixel of a photo comes to at these settings, about; what comes to more is made smaller."""
_DETAIL_PART, _DETAIL_EDGES = 0.25, (160, 1024)
_DETAIL_BELOW, _AMPLE_SHARE = 0.6, 2_000_000
"""How much a photo must be reduced for a detail to be worth its bytes, where there are not bytes to spare."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture."""

    data: bytes
    type: str
    """``image/jpeg``, or ``image/webp`` where some of it is transparent."""


@dataclass(frozen=True)
class Detail:
    """A part of the photo at its own resolution."""

    box: tuple[int, int, int, int]
    """Left, top, width and height in the photo, in pixels."""
    before: Picture
    after: Picture


@dataclass(frozen=True)
class Previews:
    """All pictures that a page has of one photo."""

    photo_size: tuple[int, int]
    """Width and height of the photo itself, upright, in pixels."""
    size: tuple[int, int]
    """Width and height of ``before`` and ``after``."""
    thumbnail_size: tuple[int, int]
    thumbnail: Picture
    before: Picture
    after: Picture
    detail: Detail | None
    """None where ``before`` and ``after`` have the photo's own resolution, or where there was no room for it."""

    @property
    def reduced(self) -> bool:
        """Whether ``before`` and ``after`` are smaller than the photo."""
        return self.size != self.photo_size


def share_of(photos: int) -> int:
    """Bytes for the pictures of each of so many photos."""
    return min(_MOST_SHARE, max(_LEAST_SHARE, PAGE_BYTES // max(1, photos)))


@dataclass(frozen=True, eq=False)
class Capture:
    """What :meth:`encode` makes pictures of: the photos themselves when they are small, else reduced ones."""

    photo_size: tuple[int, int]
    before: Photo
    after: Photo
    share: int
    crops: tuple[tuple[int, int, int, int], Photo, Photo] | None

    def encode(self) -> Previews:
        """The pictures, of ``share`` bytes together; more only where they would be too small to be of use."""
        before, after = as_shown(self.before), as_shown(self.after)
        thumbnail = _within(after, _THUMBNAIL_EDGE)
        small = _encoded(thumbnail, _COARSE)
        whole = before.size == self.photo_size
        pair = [_encoded(image, _FINE if whole else _COARSE) for image in (before, after)]
        if whole and _bytes(*pair) > self.share - len(small.data):
            pair = [_encoded(image, _COARSE) for image in (before, after)]
            if _bytes(*pair) > self.share - len(small.data):
                return _reduced(self.before, self.after, self.share).encode()
        detail = None if self.crops is None else _detail(*self.crops, most=round(self.share * 2 * _DETAIL_PART))
        room = self.share - len(small.data) - (_bytes(detail.before, detail.after) if detail else 0)
        while _bytes(*pair) > room and max(before.size) > _LEAST_EDGE:
            edge = int(max(before.size) * min(0.95, 0.97 * math.sqrt(room / _bytes(*pair)) if room > 0 else 0.5))
            before, after = (_within(image, max(_LEAST_EDGE, edge)) for image in (before, after))
            pair = [_encoded(image, _COARSE) for image in (before, after)]
        return Previews(self.photo_size, before.size, thumbnail.size, small, pair[0], pair[1], detail)


def capture(before: Photo, after: Photo, share: int) -> Capture:
    """Take what the pictures of one photo are made of, for ``share`` bytes; quick, and holds little but small photos.

    ``before`` and ``after`` must be of one size.
    """
    height, width = before.pixels.shape[:2]
    fits = width * height <= min(_LARGEST_PIXELS, share / 2 / _FINE_BYTES) and max(width, height) <= _LARGEST_EDGE
    if fits:
        return Capture((width, height), before, after, share, None)
    return _reduced(before, after, share)


def _reduced(before: Photo, after: Photo, share: int) -> Capture:
    height, width = before.pixels.shape[:2]
    most = min(math.sqrt(_LARGEST_PIXELS / (width * height)), _LARGEST_EDGE / max(width, height))

    def affordable(part: float) -> float:
        # Never the photo's own size, which would say that it is shown whole.
        return min(math.sqrt(share * part / 2 / _COARSE_BYTES / (width * height)), most, 0.99)

    edge = min(int(math.sqrt(_DETAIL_PART * share / 2 / _FINE_BYTES)), _DETAIL_EDGES[1])
    detailed = edge >= _DETAIL_EDGES[0] and (share >= _AMPLE_SHARE or affordable(1) < _DETAIL_BELOW)
    scale = affordable(1 - detailed * 2 * edge**2 * _FINE_BYTES / share)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [_resized(photo, size) for photo in (before, after)]
    crops = None
    if detailed:
        box = _most_changed(small[0], small[1], (width, height), edge)
        crops = (box, _cut(before, box), _cut(after, box))
    return Capture((width, height), small[0], small[1], share, crops)


def _most_changed(before: Photo, after: Photo, size: tuple[int, int], edge: int) -> tuple[int, int, int, int]:
    """The box of ``edge`` pixels, in a photo of ``size``, in which fine structure changed most."""
    width, height = size
    box = min(edge, width), min(edge, height)
    rows, columns = before.pixels.shape[:2]
    scale = min(1.0, 512 / max(rows, columns))
    coarse = max(1, round(columns * scale)), max(1, round(rows * scale))
    structures = []
    for photo in (before, after):
        small = cv2.resize(photo.pixels, coarse, interpolation=cv2.INTER_AREA).astype(np.float32)
        grey = small.reshape(coarse[1], coarse[0], -1).mean(axis=2) / np.iinfo(photo.pixels.dtype).max
        structures.append(np.abs(grey - cv2.blur(grey, (5, 5))))
    change = np.atleast_2d(np.abs(structures[0] - structures[1]))
    across, down = change.shape[1] / width, change.shape[0] / height
    window = max(1, round(box[0] * across)), max(1, round(box[1] * down))
    sums = cv2.boxFilter(change, -1, window, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    rows, columns = max(1, change.shape[0] - window[1] + 1), max(1, change.shape[1] - window[0] + 1)
    top, left = np.unravel_index(int(sums[:rows, :columns].argmax()), (rows, columns))
    return min(round(left / across), width - box[0]), min(round(top / down), height - box[1]), *box


def _detail(box: tuple[int, int, int, int], before: Photo, after: Photo, *, most: int) -> Detail | None:
    """The crops of ``box`` encoded, or smaller ones of their middle where these came to more than ``most`` bytes."""
    while min(box[2:]) >= 64:
        pair = [_encoded(as_shown(crop), _FINE) for crop in (before, after)]
        if _bytes(*pair) <= most:
            return Detail(box, *pair)
        inner = box[2] // 8, box[3] // 8, box[2] * 3 // 4, box[3] * 3 // 4
        before, after = _cut(before, inner), _cut(after, inner)
        box = (box[0] + inner[0], box[1] + inner[1], inner[2], inner[3])
    return None


def _cut(photo: Photo, box: tuple[int, int, int, int]) -> Photo:
    left, top, width, height = box
    part = np.s_[top : top + height, left : left + width]
    alpha = None if photo.alpha is None else photo.alpha[part].copy()
    return replace(photo, pixels=photo.pixels[part].copy(), alpha=alpha)


def _resized(photo: Photo, size: tuple[int, int]) -> Photo:
    # Nearly the photo's own size: averaging areas is slow there, and gains nothing.
    method = cv2.INTER_LINEAR if size[0] > 0.6 * photo.pixels.shape[1] else cv2.INTER_AREA

    def smaller(plane: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.resize(plane, size, interpolation=method))

    # OpenCV drops an axis of one channel.
    pixels = smaller(photo.pixels).reshape(size[1], size[0], -1)
    return replace(photo, pixels=pixels, alpha=None if photo.alpha is None else smaller(photo.alpha))


def _within(image: Image.Image, edge: int) -> Image.Image:
    """The image, no longer than ``edge``."""
    scale = edge / max(image.size)
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BOX if scale < 0.3 else Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, options: dict[str, int]) -> Picture:
    file = io.BytesIO()
    if image.mode == "RGBA":
        image.save(file, "WEBP", quality=options["quality"], method=2)
        return Picture(file.getvalue(), "image/webp")
    # A hundred times as fast as WebP, which would take as long as restoring the photo.
    image.save(file, "JPEG", **options)
    return Picture(file.getvalue(), "image/jpeg")


def _bytes(*pictures: Picture) -> int:
    return sum(len(picture.data) for picture in pictures)
