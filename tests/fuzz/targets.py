"""What is fuzzed: each target takes a damaged file and raises only what no user may see."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restorecli.errors import BackendError, PhotoError, WeightsError
from restorecli.export import export_onnx
from restorecli.inference.backends import NotFinite, OutOfMemory, open_backend, run
from restorecli.photo import read_photo
from restorecli.weights import load_network, resolve, save_network
from tests.fuzz.damage import DAMAGES, Damage
from tests.photo.photos import SRGB, XMP, exif_block, noise, png_chunk, png_file, saved
from tests.small import narrow_network


def sound_photos() -> list[bytes]:
    """Small photos of every format, with metadata."""
    pixels, deep = noise(16, 20), noise(16, 20, 3, np.uint16)
    deep_tiff = io.BytesIO()
    tifffile.imwrite(deep_tiff, deep, photometric="rgb")
    exif = b"Exif\0\0" + exif_block(6, thumbnail=b"\xff\xd8\xff\xd9")
    return [
        saved(pixels, "JPEG", exif=exif, xmp=XMP),
        saved(pixels, "JPEG", progressive=True, icc_profile=SRGB),
        saved(pixels, "PNG", exif=exif_block(6), icc_profile=SRGB),
        png_file(deep, 2, before=png_chunk(b"eXIf", exif_block(3))),
        saved(pixels, "TIFF", compression="tiff_lzw", icc_profile=SRGB),
        saved(pixels, "TIFF", compression="jpeg"),
        deep_tiff.getvalue(),
        saved(pixels, "WEBP", exif=exif_block(6)),
        saved(pixels, "AVIF", quality=50),
        saved(pixels, "BMP"),
        saved(pixels, "GIF"),
    ]


def read(data: bytes) -> None:
    """A photo, or a :class:`PhotoError` of one line."""
    try:
        photo = read_photo(data, max_pixels=1_000_000)
    except PhotoError as error:
        _check(error)
    else:
        assert photo.pixels.ndim == 3 and photo.pixels.shape[2] in (1, 3)
        assert photo.alpha is None or photo.alpha.shape == photo.pixels.shape[:2]


def _check(error: Exception) -> None:
    assert "\n" not in str(error) and len(str(error)) < 800


def sound_weights(suffix: str) -> list[bytes]:
    """A small weights file."""
    network = narrow_network("derain")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound.safetensors")
        save_network(path, network, network.descriptor("derain"), {"version": "test"})
        if suffix == ".onnx":
            export_onnx(resolve(str(path), "derain"), path.with_suffix(".onnx"))
        return [path.with_suffix(suffix).read_bytes()]


def load(data: bytes, suffix: str) -> None:
    """A network that runs, or a :class:`WeightsError` or :class:`BackendError` of one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"damaged{suffix}")
        path.write_bytes(data)
        try:
            weights = resolve(str(path), "derain")
            if suffix == ".onnx":
                edge = 8 * weights.descriptor.stride
                backend = open_backend(weights, backend="onnx", device="cpu")
                if edge <= 1024 and weights.descriptor.thumbnail <= 1024:
                    small = (weights.descriptor.thumbnail, weights.descriptor.thumbnail, 3)
                    tile, place = np.zeros((edge, edge, 3), np.uint8), np.array([0, 0, 1, 1], np.float32)
                    run(backend, tile, np.zeros(small, np.float32), place)
            else:
                load_network(weights)
        except (OutOfMemory, NotFinite):
            pass
        except (WeightsError, BackendError) as error:
            _check(error)


TARGETS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes], None]]] = {
    "photos": (sound_photos, read),
    "safetensors": (lambda: sound_weights(".safetensors"), lambda data: load(data, ".safetensors")),
    "onnx": (lambda: sound_weights(".onnx"), lambda data: load(data, ".onnx")),
}
"""For each name what makes sound files, and what is done with damaged ones."""


def fuzz(name: str, sound: list[bytes], examples: int) -> None:
    """Feed a target this many damaged files; raises what it finds, with the damage made as small as can be."""
    target = TARGETS[name][1]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sound), DAMAGES)
    def feed(whole: bytes, damage: Damage) -> None:
        target(damage.done_to(whole))

    feed()
