"""Photos as browsers show them: 8 bits a channel, in sRGB."""

from __future__ import annotations

import io
import logging

from PIL import Image, ImageCms

from restorecli.photo import Photo
from restorecli.photo.bits import eight_bits

_log = logging.getLogger(__name__)


def as_shown(photo: Photo) -> Image.Image:
    """The photo in sRGB, by its own profile where it has one: mode RGB, or RGBA where some of it is not opaque."""
    pixels = eight_bits(photo.pixels)
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    # With values of its own beside them, the pixels have been converted already.
    described = photo.icc if photo.native is None else None
    image = _in_srgb(image, described) if described else image.convert("RGB")
    if photo.alpha is not None:
        alpha = eight_bits(photo.alpha)
        if alpha.min() < 255:
            image.putalpha(Image.fromarray(alpha))
    return image


def _in_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        grey = profile.profile.xcolor_space.strip() == "GRAY"
        done = ImageCms.profileToProfile(
            image.convert("L" if grey else "RGB"),
            profile,
            srgb,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        _log.debug("a profile that cannot be used is taken for sRGB: %s", error)
        return image.convert("RGB")
    assert done is not None  # only in-place transforms return None
    return done
