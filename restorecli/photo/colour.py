"""Between a photo's own colours and the sRGB that networks know, there and back.

A photo in any other encoding keeps its values as they are in the file (:attr:`Photo.native`); what the network sees is
made from them, and what it changed is put back onto them. A pixel that nobody changed therefore keeps its exact value,
also where a profile cannot be inverted (the black generation of CMYK) and where its colour lies outside of sRGB.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from PIL import ImageCms

from restorecli.errors import PhotoError
from restorecli.photo.bits import deepened

_log = logging.getLogger(__name__)

_BAND_PIXELS = 1 << 20
_LEVELS = 65_535
_SAME = 1.5 / 255
"""Profiles that differ less from sRGB than this are taken for it: two makers' sRGB differ as much."""
_SETTLED = 4 / 255
"""Change, in sRGB, from which on a CMYK pixel is separated anew; below, its own separation has a share."""
_BRIGHTEST_MIDDLE, _DARKEST_MIDDLE = 0.40, 0.08
"""Linear light of the middle of a scale: 0.21 in sRGB, 0.50 where values are linear, 0.01 in PQ."""

_PRIMARIES = {
    9: (0.708, 0.292, 1, 0.170, 0.797, 1, 0.131, 0.046, 1),
    12: (0.680, 0.320, 1, 0.265, 0.690, 1, 0.150, 0.060, 1),
}
_SRGB_PRIMARIES = (0.64, 0.33, 1, 0.30, 0.60, 1, 0.15, 0.06, 1)
_DATE, _A_DATE = slice(24, 36), bytes([7, 0xE8, 0, 1, 0, 1]) + bytes(6)
_D65 = (0.3127, 0.3290, 1)
_LINEAR_TRANSFER, _HDR_TRANSFERS = 8, {16: "PQ", 18: "HLG"}


class Encoding(Protocol):
    """How the values of a photo stand for colours."""

    @property
    def exact(self) -> bool:
        """Whether :meth:`encoded` undoes :meth:`linear`."""

    def linear(self, values: np.ndarray) -> np.ndarray:
        """(C, N) uint8 or uint16 -> (3, N) linear light of sRGB's primaries, (1, N) for grey; float32, unbounded."""

    def encoded(self, light: np.ndarray) -> np.ndarray:
        """The way back: (C, N) float32 in [0, 1], clipped to what the encoding holds."""


@dataclass(frozen=True, eq=False)
class _Curves:
    """A curve for each channel, then a matrix: grey profiles, and nearly every RGB profile that a photo has."""

    tables: np.ndarray
    """(C, 65536), rising: light of each value of 16 bits."""
    inverses: np.ndarray
    """(C, ...): the value for each :func:`_place` of light."""
    matrix: np.ndarray
    exact = True

    @classmethod
    def of(cls, tables: np.ndarray, matrix: np.ndarray) -> _Curves:
        light, values = np.linspace(0, 1, _PLACES + 1) ** 2, np.linspace(0, 1, tables.shape[1])
        inverses = np.stack([np.interp(light, table, values) for table in tables])
        return cls(tables.astype(np.float32), inverses.astype(np.float32), matrix.astype(np.float32))

    def linear(self, values: np.ndarray) -> np.ndarray:
        return _mixed(self.matrix, [table[row] for table, row in zip(self.tables, deepened(values), strict=True)])

    def encoded(self, light: np.ndarray) -> np.ndarray:
        own = _mixed(np.linalg.inv(self.matrix), light)
        return np.stack([table[_place(row)] for table, row in zip(self.inverses, own, strict=True)])


@dataclass(frozen=True, eq=False)
class _Table:
    """Any other profile, CMYK above all: littleCMS looks every colour up."""

    icc: bytes
    space: str
    exact = False

    def linear(self, values: np.ndarray) -> np.ndarray:
        if values.dtype == np.uint8:
            # Looking up is slow, and a photo has far fewer colours of 8 bits than pixels.
            packed = np.zeros((values.shape[1], 4), np.uint8)
            packed[:, : len(values)] = values.T
            _, first, place = np.unique(packed.view(np.uint32).ravel(), return_index=True, return_inverse=True)
            return self._light(values[:, first])[:, place]
        return self._light(values)

    def _light(self, values: np.ndarray) -> np.ndarray:
        scale = self._top / np.iinfo(values.dtype).max
        return _transformed(values * np.float32(scale), self.icc, self.space, _linear_srgb(), "rgb")

    def encoded(self, light: np.ndarray) -> np.ndarray:
        return np.clip(_transformed(light, _linear_srgb(), "rgb", self.icc, self.space) / self._top, 0, 1)

    @property
    def _top(self) -> float:
        # littleCMS counts ink in percent.
        return 100.0 if self.space == "cmyk" else 1.0


class _PlainInks:
    """CMYK without a profile: each ink takes its share of the light, black a share of what is left."""

    exact = False

    def linear(self, values: np.ndarray) -> np.ndarray:
        left = 1 - values.astype(np.float32) / np.iinfo(values.dtype).max
        return decoded(left[:3] * left[3:])

    def encoded(self, light: np.ndarray) -> np.ndarray:
        shown = encoded(np.clip(light, 0, 1))
        black = 1 - shown.max(axis=0, keepdims=True)
        return np.vstack([1 - shown / np.maximum(1 - black, 1e-6), black]).clip(0, 1)


@dataclass(frozen=True, eq=False)
class _Neutral:
    """Grey that carries a profile for RGB."""

    colours: Encoding

    @property
    def exact(self) -> bool:
        return self.colours.exact

    def linear(self, values: np.ndarray) -> np.ndarray:
        return self.colours.linear(np.repeat(values, 3, axis=0))[1:2]

    def encoded(self, light: np.ndarray) -> np.ndarray:
        return self.colours.encoded(np.repeat(light, 3, axis=0))[1:2]


@lru_cache(maxsize=16)
def encoding_of(icc: bytes | None, channels: int) -> Encoding | None:
    """How values of ``channels`` channels (1, 3 or 4: CMYK) with the profile ``icc`` are to be read; None: as sRGB.

    ``icc`` is for as many channels (grey may also have one for RGB), or None. :class:`PhotoError` of the kind
    ``colour`` for a profile of linear or HDR values; :class:`ValueError` when the profile is broken, or leads one way
    only.
    """
    if icc is None:
        return _PlainInks() if channels == 4 else None
    if channels == 1 and space_of(icc) == "RGB":
        colours = encoding_of(icc, 3)
        return None if colours is None else _Neutral(colours)
    transfer = _transfer_of(icc)
    if transfer is not None:
        check_transfer(transfer)
    space = {1: "gray", 3: "rgb", 4: "cmyk"}[channels]
    if channels < 4:
        middle = np.full((channels, 1), 0.5, np.float32)
        light = float(_transformed(middle, icc, space, _linear_srgb(), "rgb")[1, 0])
        if light > _BRIGHTEST_MIDDLE:
            check_transfer(_LINEAR_TRANSFER)
        if light < _DARKEST_MIDDLE:
            raise PhotoError(
                "its profile is for HDR or logarithmic values; export a standard (SDR) version of it first",
                kind="colour",
            )
        curves = _curves(icc, space)
        if curves is not None:
            return None if _is_srgb(curves) else curves
    table = _Table(icc, space)
    # Whether there is a way back.
    table.encoded(np.full((3, 1), 0.2, np.float32))
    return table


def check_transfer(transfer: int) -> None:
    """:class:`PhotoError` of the kind ``colour`` when the transfer function of that number (ITU-T H.273) is not SDR."""
    if transfer == _LINEAR_TRANSFER:
        raise PhotoError("its values are linear; convert it to sRGB (or another photo profile) first", kind="colour")
    if transfer in _HDR_TRANSFERS:
        raise PhotoError(
            f"it is an HDR photo ({_HDR_TRANSFERS[transfer]}); export a standard (SDR) version of it first",
            kind="colour",
        )


def profile_of(primaries: int) -> bytes | None:
    """An ICC profile for primaries by their number in ITU-T H.273, with the curve of sRGB; None for those of sRGB."""
    if primaries not in _PRIMARIES:
        return None
    from imagecodecs import cms_profile

    curve = np.rint(decoded(np.linspace(0, 1, 1024, dtype=np.float32)) * _LEVELS).astype(np.uint16)
    profile = bytes(cms_profile("rgb", whitepoint=_D65, primaries=_PRIMARIES[primaries], transferfunction=curve))
    # Not of the moment: the same command makes the same file.
    return profile[: _DATE.start] + _A_DATE + profile[_DATE.stop :]


def seen(native: np.ndarray, encoding: Encoding) -> np.ndarray:
    """What a network sees of (H, W, C) values: (H, W, 1 or 3) uint16, encoded as sRGB and clipped to it."""
    height, width = native.shape[:2]
    pixels = np.empty((height, width, 1 if native.shape[2] == 1 else 3), np.uint16)
    for rows in _bands(height, width):
        pixels[rows] = _shown(encoding.linear(_planes(native[rows]))).T.reshape(-1, width, pixels.shape[2])
    return pixels


def returned(native: np.ndarray, pixels: np.ndarray, encoding: Encoding) -> np.ndarray:
    """``native`` with the changes that lie between :func:`seen` of it and ``pixels``, rounded once.

    The change is added in linear light, so that what sRGB cannot show of a colour stays.
    """
    result = native.copy()
    top = np.float32(np.iinfo(native.dtype).max)
    for rows in _bands(*native.shape[:2]):
        light = encoding.linear(_planes(native[rows]))
        before, after = _shown(light), _planes(pixels[rows])
        changed = np.flatnonzero((before != after).any(axis=0))
        if not len(changed):
            continue
        before, after = before[:, changed], after[:, changed]
        wanted = encoding.encoded(light[:, changed] + _LIGHT[after] - _LIGHT[before])
        band = result[rows].reshape(-1, native.shape[2])
        if not encoding.exact:
            change = np.abs(after.astype(np.int32) - before).max(axis=0) / np.float32(_LEVELS)
            given = band[changed].T / top
            wanted = given + np.minimum(change / np.float32(_SETTLED), 1) * (wanted - given)
        band[changed] = np.rint(wanted * top).astype(native.dtype).T
    return result


def encoded(light: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] as sRGB encodes it."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055).astype(np.float32)


def decoded(shown: np.ndarray) -> np.ndarray:
    """The linear light that values of sRGB in [0, 1] stand for."""
    return np.where(shown <= 0.04045, shown / 12.92, np.power((shown + 0.055) / 1.055, 2.4)).astype(np.float32)


_LIGHT = decoded(np.linspace(0, 1, _LEVELS + 1, dtype=np.float32))


_PLACES = (1 << 17) - 1
_SHOWN = np.rint(encoded(np.linspace(0, 1, _PLACES + 1, dtype=np.float64) ** 2) * _LEVELS).astype(np.uint16)


def _place(light: np.ndarray) -> np.ndarray:
    """Where tables of what light becomes have it: they go by its root, which runs much as any photo's values do."""
    return (np.sqrt(np.clip(light, 0, 1)) * np.float32(_PLACES) + np.float32(0.5)).astype(np.int32)


def _shown(light: np.ndarray) -> np.ndarray:
    """uint16 of sRGB for light, which is clipped to what sRGB shows."""
    return _SHOWN[_place(light)]


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _BAND_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _planes(band: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (C, H W)."""
    return np.ascontiguousarray(band.reshape(-1, band.shape[2]).T)


def _mixed(matrix: np.ndarray, planes: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The product of a small matrix and planes; BLAS would wake all its threads for each band."""
    result = matrix[:, :1] * planes[0]
    for column, plane in zip(matrix.T[1:], planes[1:], strict=True):
        result += column[:, None] * plane
    return result


def _curves(icc: bytes, space: str) -> _Curves | None:
    """The curves and the matrix that littleCMS makes of a profile; None when it is none of this kind."""
    channels = 1 if space == "gray" else 3
    # All three are the same for grey.
    kept = [1] if channels == 1 else [0, 1, 2]
    units = np.eye(channels, dtype=np.float32)
    matrix = _transformed(units, icc, space, _linear_srgb(), "rgb")[kept]
    scale = np.linspace(0, 1, _LEVELS + 1, dtype=np.float32)
    tables = []
    for unit, colour in zip(units, matrix.T, strict=True):
        light = _transformed(unit[:, None] * scale, icc, space, _linear_srgb(), "rgb")[kept]
        tables.append(colour @ light / (colour @ colour))
    if any((np.diff(table) < -1e-6).any() or abs(table[0]) > 1e-5 for table in tables):
        return None
    found = _Curves.of(np.maximum.accumulate(np.stack(tables), axis=1), matrix)
    probes = np.random.default_rng(0).integers(0, _LEVELS, (channels, 4096), dtype=np.uint16, endpoint=True)
    direct = _transformed(probes / np.float32(_LEVELS), icc, space, _linear_srgb(), "rgb")[kept]
    return found if np.abs(found.linear(probes) - direct).max() < 1e-4 else None


def _is_srgb(curves: _Curves) -> bool:
    channels = len(curves.tables)
    steps = np.linspace(0, _LEVELS, 17).astype(np.uint16)
    cube = np.stack(np.meshgrid(*[steps] * channels)).reshape(channels, -1)
    return bool(np.abs(_shown(curves.linear(cube)).astype(np.int32) - cube).max() <= _SAME * _LEVELS)


def _transformed(values: np.ndarray, source: bytes, source_space: str, target: bytes, target_space: str) -> np.ndarray:
    """(C, N) float32 through littleCMS, in floating point and unbounded, colorimetric with black points matched."""
    from imagecodecs import CMS, CmsError, cms_transform

    try:
        done = cms_transform(
            np.ascontiguousarray(values.T, np.float32)[None],
            source,
            target,
            colorspace=source_space,
            outcolorspace=target_space,
            outdtype=np.float32,
            intent=CMS.INTENT.RELATIVE_COLORIMETRIC,
            flags=CMS.FLAGS.BLACKPOINTCOMPENSATION | CMS.FLAGS.NOOPTIMIZE,
        )
    except CmsError as error:
        raise ValueError(f"littleCMS cannot use it: {error}") from error
    if not np.isfinite(done).all():
        raise ValueError("it makes values that are no numbers")
    return np.ascontiguousarray(done.reshape(values.shape[1], -1).T)


@lru_cache(maxsize=1)
def _linear_srgb() -> bytes:
    from imagecodecs import cms_profile

    return bytes(cms_profile("rgb", whitepoint=_D65, primaries=_SRGB_PRIMARIES, gamma=1.0))


def _transfer_of(icc: bytes) -> int | None:
    """The transfer function that a profile's ``cicp`` tag names."""
    for index in range(min(int.from_bytes(icc[128:132], "big"), 100)):
        entry = icc[132 + 12 * index : 144 + 12 * index]
        if entry[:4] == b"cicp":
            at = int.from_bytes(entry[4:8], "big")
            return icc[at + 9] if at + 9 < len(icc) else None
    return None


def space_of(icc: bytes) -> str:
    """``RGB``, ``GRAY``, ``CMYK``, ``Lab`` ... that a profile is for; :class:`ValueError` when it is no profile."""
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
        return str(profile.xcolor_space.strip())
    except OSError as error:
        raise ValueError(str(error)) from error
