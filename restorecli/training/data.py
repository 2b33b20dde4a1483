"""Photo folders -> batches of crops, one whole batch per step.

The batch of a step is a function of the seed and the step alone: it is the same whether the run was interrupted or
not, and whatever the number of workers.
"""

from __future__ import annotations

import fnmatch
import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from restorecli.errors import PhotoError, TrainingError
from restorecli.pairs import photos_in
from restorecli.photo import read_photo
from restorecli.training.config import TrainConfig
from restorecli.training.degrade import Rendered, render_haze, render_rain
from restorecli.training.structures import lay_lines

_log = logging.getLogger(__name__)

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The place of a crop that is the whole photo."""


@dataclass(frozen=True)
class Crops:
    """Crops of one domain (B, 3, H, W), the thumbnails (B, 3, S, S) of the photos they were cut from, all in [0, 1],
    and where in them they lie (B, 4): top, left, bottom, right in [0, 1]."""

    crop: Tensor
    thumbnail: Tensor
    place: Tensor


@dataclass(frozen=True)
class Batch:
    """What a step learns from; a part that the step does not use is None."""

    rendered: Rendered | None
    degraded: Crops | None
    clear: Crops | None


def as_tensor(photo: np.ndarray) -> Tensor:
    """(H, W, C) uint8 -> (C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1))).float() / 255


def read_rgb(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8; raises :class:`PhotoError`."""
    photo = read_photo(path)
    pixels = photo.pixels
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def training_photos(folder: Path, exclude: tuple[str, ...]) -> list[Path]:
    """The photos of a folder without the excluded ones; :class:`TrainingError` when none is left."""
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder: give a folder of photos", kind="missing")
    there = photos_in(folder)
    found = [p for p in there if not any(fnmatch.fnmatch(p.name, pattern) for pattern in exclude)]
    if not found:
        why = f": data.exclude leaves out all {len(there)}" if there else ""
        raise TrainingError(f"{folder} holds no photo to train on{why}", kind="empty")
    return found


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
    """The photos of a folder, drawn by the square root of the file's size, which grows with the photo's area and with
    its detail: large photos full of lines have more to teach than small smooth ones."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        total = np.cumsum(np.sqrt([max(path.stat().st_size, 1) for path in paths]))
        self.chances = total / total[-1]

    def __len__(self) -> int:
        return len(self.paths)

    def draw(self, rng: np.random.Generator) -> Path:
        """A random photo of the folder."""
        return self.paths[int(np.searchsorted(self.chances, rng.random(), side="right"))]


class Batches(Dataset):
    """Step number -> :class:`Batch`."""

    def __init__(self, config: TrainConfig, degraded: list[Path], clear: list[Path]) -> None:
        self.config = config
        self.degraded = Source(degraded)
        self.clear = Source(clear)
        self.rgbd: list[tuple[Path, Path]] = []
        if config.data.rgbd and config.task == "dehaze":
            root = Path(config.data.rgbd)
            depths = {path.stem: path for path in training_photos(root / "depth", config.data.exclude)}
            photos = training_photos(root / "rgb", config.data.exclude)
            self.rgbd = [(path, depths[path.stem]) for path in photos if path.stem in depths]
            if not self.rgbd:
                raise TrainingError(f"no photo of {root / 'rgb'} has a depth map of its name in {root / 'depth'}")
        self.broken: set[Path] = set()
        self.cache = PhotoCache(config.data.cache_mb * 2**20)

    def __len__(self) -> int:
        return self.config.steps

    def summary(self) -> str:
        """How many photos there are, for people."""
        depth = f", {len(self.rgbd)} with depth" if self.rgbd else ""
        excluded = f", without what data.exclude names ({', '.join(self.config.data.exclude)})"
        return (
            f"{len(self.degraded)} degraded and {len(self.clear)} clear photos{depth}"
            f"{excluded if self.config.data.exclude else ''}"
        )

    def __getitem__(self, step: int) -> Batch | TrainingError:
        try:
            return self.batch(step)
        except TrainingError as error:
            # From a worker an exception would arrive as the text of a traceback; as a value it arrives as it is.
            return error

    def batch(self, step: int) -> Batch:
        """What the step learns from; :class:`TrainingError` when there are too few photos that can be read."""
        config = self.config
        rng = np.random.default_rng((config.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rendered = self._rendered(rng, generator) if config.rendered.weight > 0 else None
        degraded = clear = None
        if unpaired_step(config, step):
            degraded = self._crops(self.degraded, self.config.unpaired.batch, rng)
            clear = self._crops(self.clear, self.config.unpaired.batch, rng)
        return Batch(rendered, degraded, clear)

    def real_samples(self, count: int) -> Crops:
        """Crops of degraded photos to look at, the same ones each time."""
        return self._crops(self.degraded, count, np.random.default_rng(self.config.seed))

    def _photo(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """A random photo; broken ones are passed over, and a folder of nothing else is an error."""
        for _ in range(20):
            path = source.draw(rng)
            if path in self.broken:
                continue
            try:
                return self.cache.get(path)
            except PhotoError as error:
                self.broken.add(path)
                _log.warning("passed over: %s", error)
        raise TrainingError(f"too many photos beside {path} cannot be read: clean the folder up", kind="unreadable")

    def _window(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Top, left and edge of a square window that becomes a crop."""
        low, high = self.config.data.scale
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        edge = min(round(self.config.data.crop / scale), height, width)
        return int(rng.integers(height - edge + 1)), int(rng.integers(width - edge + 1)), edge

    def _cut(self, photo: np.ndarray, top: int, left: int, edge: int) -> np.ndarray:
        crop = self.config.data.crop
        window = photo[top : top + edge, left : left + edge]
        if edge == crop:
            return window
        return cv2.resize(window, (crop, crop), interpolation=cv2.INTER_AREA if edge > crop else cv2.INTER_CUBIC)

    def _small(self, photo: np.ndarray) -> np.ndarray:
        size = self.config.generator.thumbnail
        return cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)

    def _crops(self, source: Source, count: int, rng: np.random.Generator) -> Crops:
        crops, thumbnails, places = [], [], []
        for _ in range(count):
            photo = self._photo(source, rng)
            height, width = photo.shape[:2]
            top, left, edge = self._window(height, width, rng)
            crop, small = self._cut(photo, top, left, edge), self._small(photo)
            place = [top / height, left / width, (top + edge) / height, (left + edge) / width]
            if rng.random() < 0.5:
                crop, small = crop[:, ::-1], small[:, ::-1]
                place[1], place[3] = 1 - place[3], 1 - place[1]
            crops.append(as_tensor(crop))
            thumbnails.append(as_tensor(small))
            places.append(place)
        return Crops(torch.stack(crops), torch.stack(thumbnails), torch.tensor(places, dtype=torch.float32))

    def _rendered(self, rng: np.random.Generator, generator: torch.Generator) -> Rendered:
        data, size = self.config.data, self.config.generator.thumbnail
        crops, thumbnails, boxes, depths, depth_thumbnails, known = [], [], [], [], [], []
        for _ in range(data.batch):
            has_depth = bool(self.rgbd) and rng.random() < data.rgbd_share
            depth = np.zeros((1, 1, 1), np.uint8)
            if has_depth:
                photo, depth = self._rgbd(rng)
            else:
                photo = self._photo(self.clear, rng)
            height, width = photo.shape[:2]
            top, left, edge = self._window(height, width, rng)
            crop, small = self._cut(photo, top, left, edge), self._small(photo)
            box = [top / height, left / width, (top + edge) / height, (left + edge) / width]
            if has_depth:
                far, far_small = self._cut(depth, top, left, edge), self._small(depth)
            else:
                far, far_small = np.zeros((data.crop, data.crop), np.uint8), np.zeros((size, size), np.uint8)
            if rng.random() < 0.5:
                crop, small, far, far_small = (x[:, ::-1] for x in (crop, small, far, far_small))
                box[1], box[3] = 1 - box[3], 1 - box[1]
            if not has_depth and rng.random() < data.rotate:
                crop, small = np.rot90(crop), np.rot90(small)
                box = [1 - box[3], box[0], 1 - box[1], box[2]]
            clear, thumb = as_tensor(crop), as_tensor(small)
            if rng.random() < data.gamma:
                gamma = float(np.exp(rng.uniform(np.log(0.6), np.log(1.7))))
                clear, thumb = clear**gamma, thumb**gamma
            if rng.random() < data.lines:
                clear = lay_lines(clear, generator)
                # Drawn over the crop alone, which thus becomes the photo.
                thumb, box = thumbnail_of(clear[None], size)[0], list(WHOLE)
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
        index = int(rng.integers(len(self.rgbd)))
        path, depth_path = self.rgbd[index]
        try:
            photo, depth = self.cache.get(path), self.cache.get(depth_path)[..., 0]
        except PhotoError as error:
            raise TrainingError(f"{error}", kind="unreadable") from error
        if photo.shape[:2] != depth.shape:
            raise TrainingError(f"{depth_path} is not of the size of {path}")
        # Cameras that measure depth leave an unreliable margin.
        margin = min(photo.shape[:2]) // 40
        photo = photo[margin : photo.shape[0] - margin, margin : photo.shape[1] - margin]
        depth = depth[margin : depth.shape[0] - margin, margin : depth.shape[1] - margin]
        return photo, cv2.convertScaleAbs(depth, alpha=255 / max(int(depth.max()), 1))

    def _as_files(self, rendered: Rendered, rng: np.random.Generator) -> Rendered:
        """Some crops through JPEG, as real photos are; some with the thumbnail of the crop alone."""
        degraded, thumbnail, place = rendered.degraded.clone(), rendered.thumbnail.clone(), rendered.place.clone()
        for index in range(len(degraded)):
            if rng.random() < self.config.data.jpeg:
                quality = int(rng.integers(50, 96))
                pixels = (degraded[index] * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
                coded = cv2.imencode(".jpg", np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
                degraded[index] = as_tensor(decoded[..., ::-1])
            if rng.random() < self.config.data.alone:
                thumbnail[index] = thumbnail_of(degraded[index : index + 1], thumbnail.shape[-1])[0]
                place[index] = torch.tensor(WHOLE)
        return Rendered(degraded, thumbnail, rendered.clear, place)


def thumbnail_of(photo: Tensor, size: int) -> Tensor:
    """The thumbnail (B, 3, size, size) of photos (B, 3, H, W), by area as the engine makes it."""
    return F.adaptive_avg_pool2d(photo, size)


def unpaired_step(config: TrainConfig, step: int) -> bool:
    """Whether this step (from 0) has unpaired losses."""
    unpaired = config.unpaired
    return unpaired.weight > 0 and step >= unpaired.start and (step - unpaired.start) % unpaired.every == 0


def batches(data: Batches, start: int, workers: int, device: torch.device) -> Iterator[Batch]:
    """The batches of the steps from ``start`` on, made ahead by ``workers`` processes (0: in this one)."""
    loader = DataLoader(
        data,
        sampler=range(start, len(data)),
        batch_size=None,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )
    for batch in loader:
        if isinstance(batch, TrainingError):
            raise batch
        yield batch


def _one_thread(_: int) -> None:
    """A worker renders on one core: the others are its siblings' and the step's."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
