"""One photo through the whole engine: tiles equal to the whole, and nothing but colour changed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from restorecli.errors import PhotoError, UsageError, WeightsError
from restorecli.hardware import cpu_has_fast_bf16
from restorecli.inference import engine as engine_module
from restorecli.inference import footprint
from restorecli.inference.backends import NotFinite, Pending, Window, failing
from restorecli.inference.footprint import bytes_per_pixel
from restorecli.inference.measure import Setting, measure
from restorecli.inference.restorer import Restorer
from restorecli.photo import Photo, write_photo
from restorecli.weights import resolve
from tests.small import noise

SIZES = [(1, 1), (7, 1000), (513, 769), (1100, 1400)]


@pytest.fixture(scope="module")
def derain(weights_files: dict[str, Path]) -> Restorer:
    return Restorer("derain", weights=str(weights_files["derain"]), device="cpu", precision="fp32")


@pytest.mark.parametrize("task", ["derain", "dehaze"])
@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize("size", SIZES)
def test_tiled_is_whole(
    task: str, backend: str, size: tuple[int, int], weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So little that auto, too, has to cut the larger ones.
    monkeypatch.setattr(footprint, "DEFAULT_WORKING_MEMORY", 100_000_000)

    def restored(tile: int | str) -> tuple[np.ndarray, int]:
        restorer = Restorer(
            task, weights=str(weights_files[task]), backend=backend, device="cpu", precision="fp32", tile=tile
        )
        photo, details = restorer.restore_photo(Photo(pixels))
        return photo.pixels.astype(int), details.tiles

    pixels = noise(*size)
    whole, one = restored(4096)
    assert one == 1
    assert size == (1, 1) or np.abs(whole - pixels).max() > 5
    for tile in (256, 512, "auto"):
        tiled, count = restored(tile)
        assert np.abs(tiled - whole).max() <= 1, tile
        if size == SIZES[-1]:
            assert count > 1, tile


@pytest.mark.skipif(not cpu_has_fast_bf16(), reason="this CPU does not multiply bf16 in hardware")
@pytest.mark.parametrize("task", ["derain", "dehaze"])
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_tiled_is_whole_in_bf16(task: str, backend: str, weights_files: dict[str, Path]) -> None:
    pixels = noise(700, 900)
    results = []
    for tile in (4096, 256):
        restorer = Restorer(
            task, weights=str(weights_files[task]), backend=backend, device="cpu", precision="bf16", tile=tile
        )
        photo, details = restorer.restore_photo(Photo(pixels))
        assert details.precision == "bf16" and (details.tiles == 1) == (tile == 4096)
        results.append(photo.pixels.astype(int))
    assert np.abs(results[0] - results[1]).max() <= 2


def test_strength_zero_changes_nothing(weights_files: dict[str, Path]) -> None:
    restorer = Restorer("dehaze", weights=str(weights_files["dehaze"]), device="cpu", strength=0)
    for photo in (noise(60, 70), noise(60, 70, 1), noise(60, 70, 3, np.uint16)):
        assert np.array_equal(restorer.restore(photo), photo)


def test_grey_stays_grey_and_alpha_stays_as_it_is(derain: Restorer) -> None:
    grey, alpha = noise(60, 70, 1), noise(60, 70, 1, seed=9)[..., 0]
    result, details = derain.restore_photo(Photo(grey, alpha=alpha, format="png", icc=b"profile", dpi=(72, 72)))
    assert result.pixels.shape == grey.shape and not np.array_equal(result.pixels, grey)
    assert result.alpha is not None and np.array_equal(result.alpha, alpha)
    assert (result.format, result.icc, result.dpi) == ("png", b"profile", (72, 72))
    assert (details.device, details.precision, details.tiles, details.notes) == ("cpu", "fp32", 1, ())
    # Grey is what its colours would show.
    colours = derain.restore(np.repeat(grey, 3, axis=2)).astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(result.pixels[..., 0] - colours).max() <= 1


def test_16_bits_are_finer_than_8(derain: Restorer) -> None:
    deep = noise(60, 70, 3, np.uint16)
    restored = derain.restore(deep)
    assert restored.dtype == np.uint16
    assert len(np.unique(restored % 257)) > 200
    shallow = derain.restore(np.rint(deep / 257).astype(np.uint8))
    assert np.abs(restored / 257 - shallow).max() < 3


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (40, 50, 3), (40, 50, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_come_back_as_they_went(shape: tuple[int, ...], dtype: type, derain: Restorer) -> None:
    array = noise(40, 50, 4, dtype)[..., : shape[2] if len(shape) == 3 else 1].reshape(shape)
    restored = derain.restore(array)
    assert restored.shape == shape and restored.dtype == dtype
    if shape[-1] == 4:
        assert np.array_equal(restored[..., -1], array[..., -1])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_images_come_back_as_they_went(mode: str, derain: Restorer) -> None:
    if mode == "I;16":
        image = Image.fromarray(noise(40, 50, 1, np.uint16)[..., 0])
    else:
        image = Image.fromarray(noise(40, 50, 4), "RGBA").convert(mode)
    restored = derain.restore(image)
    assert (restored.mode, restored.size) == (mode, image.size)
    if mode == "LA":
        assert np.array_equal(restored.getchannel("L"), derain.restore(np.asarray(image.getchannel("L"))))
        assert np.array_equal(restored.getchannel("A"), image.getchannel("A"))
    else:
        assert np.array_equal(np.asarray(restored), derain.restore(np.asarray(image)))


@pytest.mark.parametrize(("mode", "key", "wanted"), [("P", 3, "RGBA"), ("L", 200, "LA"), ("RGB", (1, 2, 3), "RGBA")])
def test_transparent_colours_become_an_alpha_channel(
    mode: str, key: int | tuple[int, ...], wanted: str, derain: Restorer
) -> None:
    image = Image.fromarray(noise(40, 50)).convert(mode)
    image.info["transparency"] = key
    restored = derain.restore(image)
    assert restored.mode == wanted and "transparency" not in restored.info
    assert np.array_equal(restored.getchannel("A"), image.convert(wanted).getchannel("A"))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pillow_modes_without_a_range_are_refused(mode: str, derain: Restorer) -> None:
    with pytest.raises(UsageError, match=f"mode {mode} "):
        derain.restore(Image.new(mode, (20, 20)))


def test_a_path_gives_a_photo(derain: Restorer, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    write_photo(Photo(noise(40, 50)), path)
    assert np.array_equal(derain.restore(path).pixels, derain.restore(noise(40, 50)))
    with pytest.raises(PhotoError) as caught:
        derain.restore(tmp_path / "none.png")
    assert caught.value.kind == "missing"


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 2), np.uint8), 7]
)
def test_what_is_no_photo_is_refused(wrong: object, derain: Restorer) -> None:
    with pytest.raises(UsageError):
        derain.restore(wrong)  # type: ignore[type-var]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"strength": 1.5}, {"strength": float("nan")}, {"strength": "half"}),
        *({"tile": 3}, {"tile": "large"}, {"max_memory": 0}, {"max_memory": "2GB"}),
    ],
)
def test_arguments_are_checked_before_anything_is_loaded(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="must be"):
        Restorer("derain", weights="never looked for", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="task must be"):
        Restorer("desnow")


def test_numbers_of_numpy_are_numbers(weights_files: dict[str, Path]) -> None:
    numbers: dict[str, Any] = {"strength": np.float32(0.5), "max_memory": np.int64(2_000_000_000)}
    Restorer("derain", weights=str(weights_files["derain"]), device="cpu", **numbers)


def test_weights_of_the_other_task_are_refused(weights_files: dict[str, Path]) -> None:
    with pytest.raises(WeightsError, match="removes haze, not rain") as caught:
        Restorer("derain", weights=str(weights_files["dehaze"]))
    assert caught.value.kind == "wrong_task"


def test_the_memory_bound_chooses_the_tile(weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(1500, 2000)
    held = 400_000_000
    monkeypatch.setattr(footprint, "resident_memory", lambda: held)

    def tiles(bound: int | None, tile: int | str = "auto") -> int:
        restorer = Restorer(
            "derain", weights=str(weights_files["derain"]), device="cpu", precision="fp32", max_memory=bound, tile=tile
        )
        found = restorer.engine.plan(pixels)
        assert bound is None or (
            found.window_pixels * bytes_per_pixel(restorer.backend.descriptor, restorer.backend.name, "fp32")
            + held
            + 2 * pixels.nbytes
            <= bound
        )
        return len(found.tiles)

    assert tiles(None) < tiles(held + 120_000_000) < tiles(held + 80_000_000)
    with pytest.raises(PhotoError, match=r"401 MB is too little; with \w+ it takes at least 4\d\d MB") as caught:
        tiles(held + 1_000_000)
    assert caught.value.kind == "out_of_memory"
    with pytest.raises(PhotoError, match=r"--max-memory 1 kB is too little"):
        tiles(1_000)
    with pytest.raises(PhotoError, match="use --tile auto"):
        tiles(held + 80_000_000, tile=1024)
    # Where no tile fits, that is no remedy.
    with pytest.raises(PhotoError, match=r"401 MB is too little"):
        tiles(held + 1_000_000, tile=1024)


def test_transparency_is_reckoned_with_in_the_memory_bound(
    weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, held = noise(1000, 1500), 400_000_000
    monkeypatch.setattr(footprint, "resident_memory", lambda: held)
    engine = Restorer(
        "derain", weights=str(weights_files["derain"]), device="cpu", precision="fp32", max_memory=held + 60_000_000
    ).engine
    opaque, half = np.full(pixels.shape[:2], 255, np.uint8), np.full(pixels.shape[:2], 255, np.uint8)
    half[:, :700] = 0
    counts = [len(engine.plan(pixels, alpha).tiles) for alpha in (None, opaque, half)]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize(("device", "runs_on"), [("gpu", "cpu"), ("tensorrt:0", "cpu"), ("cuda:1", "cuda:1")])
def test_tiles_that_are_not_finite_are_repeated_where_pytorch_can(
    device: str, runs_on: str, weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Restorer("derain", weights=str(weights_files["derain"]), backend="torch", device="cpu").engine
    engine.backend.device, engine.backend.precision = device, "fp16"
    asked: list[dict[str, str]] = []

    def opened(weights: object, **wishes: str) -> None:
        asked.append(wishes)

    monkeypatch.setattr(engine_module, "open_backend", opened)
    engine._exact_backend()
    assert asked == [{"backend": "torch", "device": runs_on, "precision": "fp32"}]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process held at most")
@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_the_memory_bound_is_kept(backend: str, weights_files: dict[str, Path]) -> None:
    weights, setting = resolve(str(weights_files["derain"]), "derain"), Setting(backend, "cpu", "fp32")
    idle = measure(weights, setting, height=16, width=16, runs=1)
    if idle.problem is not None and backend == "openvino":
        pytest.skip(idle.problem)
    assert idle.peak_memory is not None
    # Unbounded it is one window of nearly 300 MB. Twice, as memory that the first photo took is there for the second.
    bound = idle.peak_memory + 120_000_000
    bounded = measure(weights, setting, height=1200, width=1600, max_memory=bound, runs=1)
    assert bounded.problem is None and bounded.tiles > 1
    assert bounded.peak_memory is not None and bounded.peak_memory <= bound


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process held at most")
@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_what_a_window_takes_is_known_beforehand(backend: str) -> None:
    weights, setting = resolve(None, "derain"), Setting(backend, "cpu", "fp32")
    idle, busy = (measure(weights, setting, height=side, width=side, tile=4096, runs=1) for side in (16, 768))
    if idle.problem is not None and backend == "openvino":
        pytest.skip(idle.problem)
    assert idle.peak_memory is not None and busy.peak_memory is not None
    known = 768**2 * bytes_per_pixel(weights.descriptor, backend, "fp32")
    # Far less would mean smaller windows than the memory allows, and more context computed twice. What is taken once,
    # however large the photo (compiled kernels, a thread's scratch memory), is no part of it.
    once = 20_000_000
    assert known / 2 <= busy.peak_memory - idle.peak_memory <= known + once


def test_tiles_that_are_not_finite_are_noted(weights_files: dict[str, Path]) -> None:
    restorer = Restorer("derain", weights=str(weights_files["derain"]), backend="torch", device="cpu", precision="bf16")

    def broken(windows: Sequence[Window], strength: float) -> list[Pending]:
        return [failing(NotFinite()) for _ in windows]

    restorer.backend.start = broken  # type: ignore[method-assign]
    _, details = restorer.restore_photo(Photo(noise(60, 70)))
    assert details.notes == ("1 tiles were not finite in bf16 and ran again in fp32",)


def strip(length: int = 1529, height: int = 83) -> np.ndarray:
    """Part of a photograph, so long that most tiles do not see its ends."""
    photo = cv2.resize(data.astronaut(), (length, length), interpolation=cv2.INTER_CUBIC)
    return photo[length // 3 : length // 3 + height]


def rained_on(photo: np.ndarray) -> np.ndarray:
    """The photo with a bright streak for every 600 pixels of it: clear photos are left as they are."""
    rng, wet = np.random.default_rng(0), photo.copy()
    for _ in range(photo[..., 0].size // 600):
        x, y = int(rng.integers(photo.shape[1])), int(rng.integers(photo.shape[0]))
        cv2.line(wet, (x, y), (x + 3, y + 25), (230, 230, 230), 1, cv2.LINE_AA)
    return wet


@pytest.mark.parametrize("task", ["derain", "dehaze"])
@pytest.mark.parametrize(
    ("backend", "precision", "tolerance"),
    [("torch", "fp32", 1), ("onnx", "fp32", 1), ("openvino", "fp32", 1), ("torch", "bf16", 2), ("openvino", "bf16", 2)],
)
def test_the_shipped_weights_restore_tiled_as_whole(task: str, backend: str, precision: str, tolerance: int) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    if precision == "bf16" and not cpu_has_fast_bf16():
        pytest.skip("this CPU does not multiply bf16 in hardware")

    def restored(photo: np.ndarray, tile: int) -> tuple[np.ndarray, int]:
        engine = Restorer(task, backend=backend, device="cpu", precision=precision, tile=tile).engine
        found, details = engine.start(Photo(photo)).wait()
        return found.pixels.astype(int), details.tiles

    for photo, tile in ((strip(), 96), (np.ascontiguousarray(strip().transpose(1, 0, 2)), 248)):
        photo = rained_on(photo)
        whole, one = restored(photo, 4096)
        tiled, many = restored(photo, tile)
        assert one == 1 < 3 < many and np.abs(whole - photo).max() > 5
        assert np.abs(tiled - whole).max() <= tolerance
