"""One photo through one backend: plan, thumbnail, tiles, what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from restorecli.errors import BackendError
from restorecli.inference import closeup
from restorecli.inference.backends import Backend, open_backend
from restorecli.inference.footprint import Ledger, pixels_at_once, plan_for
from restorecli.inference.looks import Look, Looks, Reductions
from restorecli.inference.runs import Runs
from restorecli.inference.stitch import Outcome, Stitching, start_plan
from restorecli.inference.tiling import Plan, plan
from restorecli.inference.views import TURNED, affordable
from restorecli.photo import Photo, transparency
from restorecli.photo.stamp import stamped
from restorecli.weights import Weights

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Details:
    """How one photo was restored."""

    backend: str
    device: str
    """The one that really ran: ``cpu`` or ``cuda:N``."""
    precision: str
    tile: int
    """The edge asked for, or with ``auto`` the longest edge of what one tile contributes; in pixels."""
    tiles: int
    """How many tiles were computed."""
    seconds: float
    notes: tuple[str, ...]
    """Anything that went otherwise than planned, one sentence each."""


class Engine:
    """Restores photos with one set of weights on one backend, several at a time where that pays.

    Not for several threads at once.
    """

    def __init__(
        self,
        weights: Weights,
        backend: Backend,
        *,
        tile: int | str,
        max_memory: int | None,
        neighbours: int,
        strength: float,
        ensemble: int | str,
        stamp: bool,
    ) -> None:
        """``weights`` are those that ``backend`` runs; the others are arguments of ``Restorer``."""
        self.backend = backend
        self._weights = weights
        self._tile, self._max_memory, self._neighbours = tile, max_memory, neighbours
        self.strength = strength
        """How much of the change is made, 0 to 1."""
        self._ensemble, self._stamp = ensemble, stamp
        self._runs = Runs(backend)
        self._ledger = Ledger()
        self._exact: Backend | None = None
        backend.limit(max_memory)

    def on(self, device: str) -> Engine:
        """The like of it on another device; :class:`~restorecli.errors.BackendError` when that is not to be had."""
        backend = open_backend(
            self._weights, backend=self.backend.name, device=device, precision=self.backend.precision
        )
        return Engine(
            self._weights,
            backend,
            tile=self._tile,
            max_memory=self._max_memory,
            neighbours=self._neighbours,
            strength=self.strength,
            ensemble=self._ensemble,
            stamp=self._stamp,
        )

    def start(self, photo: Photo, progress: Progress | None = None) -> Started:
        """Begin to restore a photo.

        Colours under fully transparent pixels stay as they are, and are not seen by the network.
        ``progress`` is told the pixels done and the pixels in all. :class:`~restorecli.errors.PhotoError` when the
        memory does not suffice, or the network gives no numbers; also from :meth:`Started.wait`.
        """
        began = time.perf_counter()
        plan = self.plan(photo.pixels, photo.alpha)
        self._ledger.used(plan, self.backend)
        pixels = transparency.filled(photo.pixels, photo.alpha)
        self._runs.pixels = pixels_at_once(self.backend, self._max_memory)
        reductions = Reductions(pixels)
        thumbnail = reductions.in_colour(max(1, self.backend.descriptor.thumbnail))
        views = self._views(pixels)
        looks = Looks(self._overview(pixels, reductions, thumbnail), self._closeup(pixels, thumbnail, views - TURNED))
        stitching = start_plan(
            pixels,
            thumbnail,
            plan,
            self._runs,
            strength=self.strength,
            views=min(views, TURNED),
            deep=looks.any,
            exact_backend=self._exact_backend,
            progress=progress,
        )
        return Started(self, photo, pixels, looks, stitching, time.perf_counter() - began)

    def hungry(self, under_way: int) -> bool:
        """Whether another photo is worth starting while windows of ``under_way`` pixels are not waited for yet."""
        return self._runs.hungry(under_way)

    @property
    def most_pixels(self) -> int | None:
        """Of how many pixels no photo fits into the bound on memory, whatever its tiles; None: there is no bound."""
        if self._max_memory is None or self.backend.device != "cpu":
            return None
        return self._ledger.room(self._max_memory)

    def plan(self, pixels: np.ndarray, alpha: np.ndarray | None = None) -> Plan:
        """The tiles of a photo; :class:`~restorecli.errors.PhotoError` when the bound on memory is too small."""
        taken = self._taken(pixels)
        if alpha is not None:
            # It is read, and coded again, as a fourth channel; what filling takes is not given to the tiles afterwards.
            taken += 4 * alpha.nbytes + (transparency.COPIES * pixels.nbytes if transparency.hides(alpha) else 0)
        return plan_for(pixels, self.backend, tile=self._tile, max_memory=self._max_memory, taken=taken)

    def _taken(self, pixels: np.ndarray) -> int:
        """Bytes held beside tiles while a photo is on its way."""
        taken = self._ledger.taken(pixels, self._neighbours)
        enlarged = self._views(pixels) > TURNED
        if pixels.dtype == np.uint8 and (enlarged or self.backend.descriptor.overview):
            # The result has 16 bits until all looks are joined.
            taken += pixels.nbytes
        if enlarged:
            taken += closeup.BYTES * pixels.shape[0] * pixels.shape[1]
        return taken

    def _views(self, pixels: np.ndarray) -> int:
        """Of how many views of these pixels, (H, W, C), the mean is taken."""
        if self._ensemble == "auto":
            return affordable(self.backend.descriptor.views, pixels.shape[0] * pixels.shape[1])
        return int(self._ensemble)

    def _overview(self, pixels: np.ndarray, reductions: Reductions, thumbnail: np.ndarray) -> Look | None:
        """Begin to restore the whole photo at a small size; None where the network, or the photo, has no use for it."""
        edge = self.backend.descriptor.overview
        if edge == 0 or min(pixels.shape[:2]) < edge or self.strength == 0:
            return None
        reduced = reductions.at(edge)
        small = np.rint(reduced * 65535).astype(np.uint16)
        whole = plan(edge, edge, tile=edge, halo=0, stride=self.backend.descriptor.stride)
        views = min(self._views(small), TURNED)
        begun = start_plan(small, thumbnail, whole, self._runs, views=views, exact_backend=self._exact_backend)
        return Look(reduced, begun)

    def _closeup(self, pixels: np.ndarray, thumbnail: np.ndarray, views: int) -> Look | None:
        """Begin to restore so many views of the photo enlarged; None where none are taken."""
        if views <= 0:
            return None
        large = closeup.enlarged(pixels)
        tiles = plan_for(large, self.backend, tile=self._tile, max_memory=self._max_memory, taken=self._taken(pixels))
        begun = start_plan(
            large,
            thumbnail,
            tiles,
            self._runs,
            strength=self.strength,
            views=views,
            exact_backend=self._exact_backend,
        )
        return Look(large, begun, views / (TURNED + views))

    def finished(self, photo: Photo, pixels: np.ndarray) -> Photo:
        """The photo with its restored pixels: its alpha channel and what it carries (but the stamp) do not change."""
        restored = replace(photo, pixels=transparency.kept(pixels, photo.pixels, photo.alpha))
        if not self._stamp:
            return restored
        return stamped(restored, f"{self._weights.task} with {self._weights.name}, strength {self.strength:g}")

    def details(self, plan: Plan, outcome: Outcome, seconds: float) -> Details:
        """How a photo was restored."""
        notes = []
        if outcome.halvings:
            notes.append(f"memory ran out, tiles were halved {outcome.halvings} times")
        if outcome.repeated:
            notes.append(f"{outcome.repeated} tiles were not finite in {self.backend.precision} and ran again in fp32")
        longest = max(max(tile.core.height, tile.core.width) for tile in plan.tiles)
        edge = longest if self._tile == "auto" else int(self._tile)
        return Details(
            backend=self.backend.name,
            device=self.backend.device,
            precision=self.backend.precision,
            tile=max(1, edge >> outcome.halvings),
            tiles=outcome.tiles,
            seconds=seconds,
            notes=tuple(notes),
        )

    def _exact_backend(self) -> Backend | None:
        """The same weights in fp32, for tiles that are not finite; None when they are fp32 already or not to be had."""
        if self._exact is None and self.backend.precision != "fp32":
            device = self.backend.device
            name = self.backend.name if self._weights.is_onnx else "torch"
            if name == "torch" and not device.startswith(("cpu", "cuda")):
                device = "cpu"
            try:
                self._exact = open_backend(self._weights, backend=name, device=device, precision="fp32")
            except BackendError:
                return None
        return self._exact


class Started:
    """A photo that is being restored."""

    def __init__(
        self,
        engine: Engine,
        photo: Photo,
        pixels: np.ndarray,
        looks: Looks,
        stitching: Stitching,
        seconds: float,
    ) -> None:
        self._engine, self._photo, self._pixels = engine, photo, pixels
        self._looks, self._stitching, self._seconds = looks, stitching, seconds

    @property
    def under_way(self) -> int:
        """Pixels of the windows that are started and not waited for."""
        return self._stitching.under_way

    def wait(self) -> tuple[Photo, Details]:
        """The restored photo, and how it went; called once."""
        began = time.perf_counter()
        outcome = self._stitching.whole()
        restored = self._looks.joined(self._pixels, outcome.pixels, self._engine.strength)
        # Not what was spent on other photos in between.
        spent = self._seconds + time.perf_counter() - began
        details = self._engine.details(self._stitching.plan, outcome, spent)
        return self._engine.finished(self._photo, restored), details
