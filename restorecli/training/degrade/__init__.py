"""Haze and rain rendered from physics, whole batches at once.

Every function takes tensors (B, C, H, W) with values in [0, 1] and a :class:`torch.Generator`: the same generator
state gives the same picture. Every sample of a batch draws its own parameters. A rendered sample is a crop together
with the thumbnail of the photo it was cut from, because the generators see both; the two are degraded alike.
"""

from restorecli.training.degrade.haze import HazeRange, render_haze
from restorecli.training.degrade.rain import RainRange, render_rain
from restorecli.training.degrade.rendered import Rendered, as_photo
from restorecli.training.degrade.streaks import periodic_thumbnail

__all__ = ["HazeRange", "RainRange", "Rendered", "as_photo", "periodic_thumbnail", "render_haze", "render_rain"]
