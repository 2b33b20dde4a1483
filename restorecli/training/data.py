"""Photo folders -> batches of crops, one whole batch per step.

A step learns from one or more groups of crops: as many as are accumulated, in each process. A group is a function of
the seed, the step and its own number alone: it is the same whether the run was interrupted or not, whatever the number
of workers, and whichever process has it. Unpaired crops of two groups are drawn as those of one group twice as large.
"""

from __future__ import annotations

import fnmatch
import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, get_worker_info

from restorecli.errors import PhotoError, TrainingError, UsageError
from restorecli.pairs import meant, photos_in
from restorecli.photo import read_photo
from restorecli.photo.bits import eight_bits
from restorecli.training.config import TrainConfig
from restorecli.training.degrade import Rendered, as_photo, periodic_thumbnail, render_haze, render_rain
from restorecli.training.structures import lay_lines

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The place of a crop that is the whole photo."""

MOST_ENLARGED = 2.2
"""How much larger a crop that is enlarged becomes at most."""

SMALLEST = 16
"""Photos with a side of fewer pixels are passed over; what is smaller than a crop is mirrored at its borders."""


@dataclass(frozen=True)
class Crops:
    """Crops of one domain (B, 3, H, W), the thumbnails (B, 3, S, S) of the photos they were cut from, all in [0, 1],
    and where in them they lie (B, 4): top, left, bottom, right in [0, 1]."""

    crop: Tensor
    thumbnail: Tensor
    place: Tensor


@dataclass(frozen=True)
class Batch:
    """What one group of a step learns from; a part that the step does not use is None."""

    rendered: Rendered | None
    degraded: Crops | None
    clear: Crops | None
    broken: tuple[str, ...] = ()
    """Photos that were found unusable on the way, each with the reason."""

    def pin_memory(self) -> Batch:
        """The same in memory that a device reads by itself, for the loader, which knows no dataclasses."""
        return _each_tensor(self, Tensor.pin_memory)


def as_tensor(photo: np.ndarray) -> Tensor:
    """(H, W, C) uint8 -> (C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1))).float() / 255


def read_rgb(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8; raises :class:`PhotoError`."""
    pixels = eight_bits(read_photo(path).pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def training_photos(folder: Path, exclude: tuple[str, ...]) -> list[Path]:
    """The photos of a folder without the excluded ones, and without what restoring put beside them.

    :class:`TrainingError` when none is left.
    """
    if not os.path.isdir(folder):
        raise TrainingError(f"{folder} is not a folder: give a folder of photos", kind="missing")
    try:
        there = meant(photos_in(folder))
    except UsageError as error:
        raise TrainingError(str(error), kind=error.kind) from error
    found = [p for p in there if not any(fnmatch.fnmatch(p.name, pattern) for pattern in exclude)]
    if not found:
        why = f": data.exclude leaves out all {len(there)}" if there else ""
        raise TrainingError(f"{folder} holds no photo to train on{why or '; name another folder'}", kind="empty")
    return found


LAST_BATCHES = 60
"""Seconds for which a worker makes batches after a SIGTERM, unless the run lets it go before."""


class PhotoCache:
    """Decoded photos, the least recently used dropped when ``limit`` bytes are exceeded."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.photos: OrderedDict[Path, np.ndarray] = OrderedDict()

    def get(self, path: Path) -> np.ndarray:
        """(H, W, 3) uint8, from memory if it is there; raises :class:`PhotoError`."""
        if path in self.photos:
            self.photos.move_to_end(path)
            return self.photos[path]
        photo = read_rgb(path)
        self.photos[path] = photo
        self.held += photo.nbytes
        while self.held > self.limit and len(self.photos) > 1:
            self.held -= self.photos.popitem(last=False)[1].nbytes
        return photo


class Source:
    """The photos of a folder and how they are drawn.

    ``detail``: by the square root of the file's size, which grows with the photo's area and with its detail: large
    photos full of lines have more to teach than small smooth ones. ``epoch``: each once before any comes again.
    """

    def __init__(self, paths: list[Path], sampling: str = "detail", seed: int = 0) -> None:
        self.paths = paths
        self.sampling = sampling
        self.seed = seed
        total = np.cumsum(np.sqrt([max(path.stat().st_size, 1) for path in paths]))
        self.chances = total / total[-1]

    def __len__(self) -> int:
        return len(self.paths)

    def draw(self, rng: np.random.Generator, position: int | None = None) -> Path:
        """The photo at that position of the run; a random one where the sampling knows no order, or none is given."""
        if position is not None and self.sampling == "epoch":
            epoch, index = divmod(position, len(self.paths))
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.paths))
            return self.paths[int(order[index])]
        return self.paths[int(np.searchsorted(self.chances, rng.random(), side="right"))]


class Batches(Dataset):
    """Number of a group -> :class:`Batch`: the groups of this process, step by step.

    ``groups`` are the numbers of its groups in each step, ``total`` is how many all processes have together.
    """

    def __init__(
        self, config: TrainConfig, degraded: list[Path], clear: list[Path], groups: range = range(1), total: int = 1
    ) -> None:
        self.config = config
        self.groups, self.total = groups, total
        self.degraded = Source(degraded, config.data.sampling, 2 * config.seed)
        self.clear = Source(clear, config.data.sampling, 2 * config.seed + 1)
        self.rgbd: list[tuple[Path, Path]] = []
        if config.data.rgbd and config.task == "dehaze":
            root = Path(config.data.rgbd)
            depths = {path.stem: path for path in training_photos(root / "depth", config.data.exclude)}
            photos = training_photos(root / "rgb", config.data.exclude)
            self.rgbd = [(path, depths[path.stem]) for path in photos if path.stem in depths]
            if not self.rgbd:
                raise TrainingError(f"no photo of {root / 'rgb'} has a depth map of its name in {root / 'depth'}")
        self.broken: dict[Path, str] = {}
        """Photos that cannot be used, each with the reason."""
        self.cache = PhotoCache(config.data.cache_mb * 2**20)

    def __len__(self) -> int:
        return self.config.steps * len(self.groups)

    def summary(self) -> str:
        """How many photos there are, for people."""
        depth = f", {len(self.rgbd)} with depth" if self.rgbd else ""
        excluded = f", without what data.exclude names ({', '.join(self.config.data.exclude)})"
        return (
            f"{len(self.degraded)} degraded and {len(self.clear)} clear photos{depth}"
            f"{excluded if self.config.data.exclude else ''}"
        )

    def __getitem__(self, index: int) -> Batch | TrainingError:
        step, own = divmod(index, len(self.groups))
        try:
            return self.batch(step, self.groups[own])
        except TrainingError as error:
            # From a worker an exception would arrive as the text of a traceback; as a value it arrives as it is.
            return error

    def batch(self, step: int, group: int = 0) -> Batch:
        """What a group of the step learns from; :class:`TrainingError` when too few photos can be read."""
        config = self.config
        known = set(self.broken)
        rendered = None
        if config.rendered.weight > 0:
            rng = np.random.default_rng((config.seed, step, group) if group else (config.seed, step))
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            rendered = self._rendered(rng, generator, (step * self.total + group) * config.data.batch)
        degraded = clear = None
        if unpaired_step(config, step):
            count = config.unpaired.batch
            rounds = (step - config.unpaired.start) // config.unpaired.every
            degraded, clear = (
                self._crops(source, count, (config.seed, step, domain), group * count, rounds * self.total * count)
                for domain, source in enumerate((self.degraded, self.clear))
            )
        broken = tuple(f"{self.broken[path]}" for path in self.broken if path not in known)
        return Batch(rendered, degraded, clear, broken)

    def real_samples(self, count: int) -> Crops:
        """Crops of degraded photos to look at, the same ones each time."""
        return self._crops(self.degraded, count, (self.config.seed,), 0, 0)

    def _photo(self, source: Source, rng: np.random.Generator, position: int | None = None) -> np.ndarray:
        """The photo of a position, at least as large as a crop; broken ones are passed over for random others, and a
        folder of nothing else is an error."""
        for _ in range(20):
            path = source.draw(rng, position)
            position = None
            if path in self.broken:
                continue
            try:
                return self._large_enough(self.cache.get(path), path)
            except PhotoError as error:
                self.broken[path] = str(error)
        raise TrainingError(f"too many photos beside {path} cannot be used: clean the folder up", kind="unreadable")

    def _large_enough(self, photo: np.ndarray, path: Path) -> np.ndarray:
        height, width = photo.shape[:2]
        if min(height, width) < SMALLEST:
            raise PhotoError(f"{path} has {width}x{height} pixels: too few to learn from", kind="too_small")
        edge = self.config.data.resize
        if edge:
            shrinks = edge < min(height, width)
            photo = cv2.resize(photo, (edge, edge), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
            height = width = edge
        down, right = (max(0, self.config.data.crop - side) for side in (height, width))
        if down or right:
            sides = (down // 2, down - down // 2, right // 2, right - right // 2)
            photo = cv2.copyMakeBorder(photo, *sides, borderType=cv2.BORDER_REFLECT_101)
        return photo

    def _window(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of a window that becomes a crop."""
        data = self.config.data
        if data.whole > 0 and rng.random() < data.whole:
            return 0, 0, height, width
        low, high = data.scale
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        tall = wide = min(round(data.crop / scale), height, width)
        if data.stretch > 1 and rng.random() < 0.5:
            ratio = float(np.exp(rng.uniform(-np.log(data.stretch), np.log(data.stretch))))
            wide = min(round(wide * max(ratio, 1)), width)
            tall = min(round(tall / min(ratio, 1)), height)
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        return top, left, top + tall, left + wide

    def _cut(self, photo: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        crop = self.config.data.crop
        top, left, bottom, right = window
        part = photo[top:bottom, left:right]
        if part.shape[:2] == (crop, crop):
            return part
        how = cv2.INTER_AREA if min(part.shape[:2]) >= crop else cv2.INTER_CUBIC
        return cv2.resize(part, (crop, crop), interpolation=how)

    def _recomposed(
        self, photo: np.ndarray, depth: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A part of a photo, and of its depth, in its place; at least as large as a crop."""
        size = photo.shape[:2]
        sides = [min(max(self.config.data.crop, int(side * rng.uniform(0.55, 1))), side) for side in size]
        top, left = (int(rng.integers(side - part + 1)) for side, part in zip(size, sides, strict=True))
        part = np.s_[top : top + sides[0], left : left + sides[1]]
        if depth is not None:
            depth = depth[part]
            # As hazy as it was in the whole room, or as a room of its own.
            if rng.random() < 0.5:
                depth = _stretched(depth)
        return photo[part], depth

    def _small(self, photo: np.ndarray) -> np.ndarray:
        size = self.config.generator.thumbnail
        return cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)

    def _crops(self, source: Source, count: int, seed: tuple[int, ...], first: int, before: int) -> Crops:
        """The crops number ``first`` and on of a step; ``before``: crops of all earlier steps."""
        crops, thumbnails, places = [], [], []
        for number in range(first, first + count):
            rng = np.random.default_rng((*seed, number))
            photo = self._photo(source, rng, before + number)
            height, width = photo.shape[:2]
            window = self._window(height, width, rng)
            crop, small = self._cut(photo, window), self._small(photo)
            place = _shares(window, height, width)
            if rng.random() < 0.5:
                crop, small = crop[:, ::-1], small[:, ::-1]
                place[1], place[3] = 1 - place[3], 1 - place[1]
            crops.append(as_tensor(crop))
            thumbnails.append(as_tensor(small))
            places.append(place)
        return Crops(torch.stack(crops), torch.stack(thumbnails), torch.tensor(places, dtype=torch.float32))

    def _rendered(self, rng: np.random.Generator, generator: torch.Generator, before: int) -> Rendered:
        """``before``: rendered crops before this group's in the run."""
        data, size = self.config.data, self.config.generator.thumbnail
        crops, thumbnails, boxes, depths, depth_thumbnails, known = [], [], [], [], [], []
        for number in range(data.batch):
            has_depth = bool(self.rgbd) and rng.random() < data.rgbd_share
            depth = None
            if has_depth:
                photo, depth = self._rgbd(rng)
            else:
                photo = self._photo(self.clear, rng, before + number)
            if rng.random() < data.gamma:
                photo = cv2.LUT(photo, _gamma(float(np.exp(rng.uniform(np.log(0.6), np.log(1.7))))))
            if data.colour > 0 and rng.random() < data.colour:
                photo = cv2.transform(photo, _other_colours(rng))
            if data.recompose > 0 and rng.random() < data.recompose:
                photo, depth = self._recomposed(photo, depth, rng)
            height, width = photo.shape[:2]
            window = self._window(height, width, rng)
            crop, small = self._cut(photo, window), self._small(photo)
            box = _shares(window, height, width)
            if depth is not None:
                far, far_small = self._cut(depth, window), self._small(depth)
            else:
                far, far_small = np.zeros((data.crop, data.crop), np.uint8), np.zeros((size, size), np.uint8)
            if rng.random() < 0.5:
                crop, small, far, far_small = (x[:, ::-1] for x in (crop, small, far, far_small))
                box[1], box[3] = 1 - box[3], 1 - box[1]
            if not has_depth and rng.random() < data.rotate:
                crop, small = np.rot90(crop), np.rot90(small)
                box = [1 - box[3], box[0], 1 - box[1], box[2]]
            clear, thumb = as_tensor(crop), as_tensor(small)
            if rng.random() < data.lines:
                clear = lay_lines(clear, generator)
                # Drawn over the crop alone, which thus becomes the photo.
                thumb, far_small, box = thumbnail_of(clear[None], size)[0], self._small(far), list(WHOLE)
            crops.append(clear)
            thumbnails.append(thumb)
            boxes.append(box)
            depths.append(as_tensor(far[..., None]))
            depth_thumbnails.append(as_tensor(far_small[..., None]))
            known.append(float(has_depth))
        crop_batch, thumbnail_batch = torch.stack(crops), torch.stack(thumbnails)
        box_batch = torch.tensor(boxes, dtype=torch.float32)
        if self.config.task == "derain":
            rendered = render_rain(crop_batch, thumbnail_batch, box_batch, generator)
        else:
            rendered = render_haze(
                crop_batch, thumbnail_batch, box_batch, torch.stack(depths), torch.stack(depth_thumbnails),
                torch.tensor(known), generator,
            )  # fmt: skip
        return self._as_files(rendered, rng)

    def _rgbd(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A photo (H, W, 3) and its depth (H, W), uint8, the farthest point at 255."""
        for _ in range(20):
            path, depth_path = self.rgbd[int(rng.integers(len(self.rgbd)))]
            if path in self.broken:
                continue
            try:
                photo, depth = self.cache.get(path), self.cache.get(depth_path)[..., 0]
                if photo.shape[:2] != depth.shape:
                    raise PhotoError(f"{depth_path} is not of the size of {path}", kind="size")
            except PhotoError as error:
                self.broken[path] = str(error)
                continue
            # Cameras that measure depth leave an unreliable margin.
            margin = min(photo.shape[:2]) // 40
            photo = photo[margin : photo.shape[0] - margin, margin : photo.shape[1] - margin]
            depth = depth[margin : depth.shape[0] - margin, margin : depth.shape[1] - margin]
            return photo, _stretched(depth)
        raise TrainingError(f"too many photos beside {path} cannot be used: clean data.rgbd up", kind="unreadable")

    def _as_files(self, rendered: Rendered, rng: np.random.Generator) -> Rendered:
        """Some crops enlarged, some through JPEG, as real photos are; some with the thumbnail of the crop alone."""
        degraded, thumbnail, place = rendered.degraded.clone(), rendered.thumbnail.clone(), rendered.place.clone()
        clear = rendered.clear.clone()
        for index in range(len(degraded)):
            if rng.random() < self.config.data.enlarge:
                crop = self.config.data.crop
                inner = round(crop / rng.uniform(1, MOST_ENLARGED))
                top, left = (int(rng.integers(crop - inner + 1)) for _ in range(2))
                both = torch.stack([degraded[index], clear[index]])[..., top : top + inner, left : left + inner]
                degraded[index], clear[index] = as_photo(F.interpolate(both, size=(crop, crop), mode="bicubic"))
                share = torch.tensor([top, left, top + inner, left + inner]) / crop
                corner, extent = place[index, :2], place[index, 2:] - place[index, :2]
                place[index] = corner.repeat(2) + share * extent.repeat(2)
            if rng.random() < self.config.data.jpeg:
                quality = int(rng.integers(50, 96))
                pixels = (degraded[index] * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
                coded = cv2.imencode(".jpg", np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
                degraded[index] = as_tensor(decoded[..., ::-1])
            if rng.random() < self.config.data.alone:
                thumbnail[index] = thumbnail_of(degraded[index : index + 1], thumbnail.shape[-1])[0]
                place[index] = torch.tensor(WHOLE)
        return Rendered(degraded, thumbnail, clear, place)


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device, channels last, which is what its convolutions are fastest with."""

    def move(value: Tensor) -> Tensor:
        layout = torch.channels_last if value.dim() == 4 else torch.preserve_format
        return value.to(device, non_blocking=True, memory_format=layout)

    return _each_tensor(batch, move)


def _each_tensor(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    def changed(part):  # type: ignore[no-untyped-def]
        return None if part is None else replace(part, **{name: change(value) for name, value in vars(part).items()})

    return Batch(changed(batch.rendered), changed(batch.degraded), changed(batch.clear), batch.broken)


def thumbnail_of(photo: Tensor, size: int) -> Tensor:
    """The thumbnail (B, 3, size, size) of photos (B, 3, H, W), by area as the engine makes it: also where a pixel of
    it is no whole number of the photo's."""
    return periodic_thumbnail(photo, whole_place(photo), size)


def whole_place(photo: Tensor) -> Tensor:
    """:data:`WHOLE` for each of some photos, (B, 4), made on their device: copies to it wait for what is under way."""
    place = torch.zeros(len(photo), 4, device=photo.device)
    place[:, 2:] = 1
    return place


def _stretched(depth: np.ndarray) -> np.ndarray:
    """A map of depth, uint8, with its farthest point at 255."""
    return cv2.convertScaleAbs(depth, alpha=255 / max(int(depth.max()), 1))


def _shares(window: tuple[int, int, int, int], height: int, width: int) -> list[float]:
    """A window's top, left, bottom and right in shares of the photo's height and width."""
    top, left, bottom, right = window
    return [top / height, left / width, bottom / height, right / width]


def _gamma(gamma: float) -> np.ndarray:
    """Table of 256 values that makes photos darker (above 1) or brighter. Of the photo, as a mean of what is not
    linear in its pixels is not made of their mean: its thumbnail shows it too."""
    return np.round((np.arange(256) / 255) ** gamma * 255).astype(np.uint8)


def _other_colours(rng: np.random.Generator) -> np.ndarray:
    """Matrix (3, 3) that makes the colours of a photo (RGB) paler or stronger, and gives them a cast. Of the photo, as
    values that are clipped average otherwise: its thumbnail shows it too."""
    saturation = rng.uniform(0.5, 1.5)
    mixing = saturation * np.eye(3) + (1 - saturation) * np.array([0.299, 0.587, 0.114])
    return np.exp(rng.normal(0, 0.08, (3, 1))) * mixing


def unpaired_step(config: TrainConfig, step: int) -> bool:
    """Whether this step (from 0) has unpaired losses."""
    unpaired = config.unpaired
    return unpaired.weight > 0 and step >= unpaired.start and (step - unpaired.start) % unpaired.every == 0


def batches(data: Batches, start: int, workers: int, device: torch.device) -> Iterator[list[Batch]]:
    """The groups of each step from ``start`` on, made ahead by ``workers`` processes (0: in this one)."""
    own = len(data.groups)
    loader = DataLoader(
        data,
        sampler=range(start * own, len(data)),
        batch_size=None,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin_worker,
    )
    groups: list[Batch] = []
    for batch in loader:
        if isinstance(batch, TrainingError):
            raise batch
        groups.append(batch)
        if len(groups) == own:
            yield groups
            groups = []


def _begin_worker(number: int) -> None:
    """A Ctrl-C, which a terminal sends to all processes alike, is for the run to answer, which still needs a batch.

    So is a SIGTERM, which systems send so too; as the run itself ends workers with it, they end a while later.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_BATCHES) and None)
    _one_of_several(number)


def _one_of_several(_: int) -> None:
    """A worker renders on one core, the others are its siblings' and the step's, and has its share of the memory."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    worker: Any = get_worker_info()
    worker.dataset.cache.limit //= worker.num_workers
