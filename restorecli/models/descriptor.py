"""What the engine must know of a network, as data.

The engine never looks inside a network: it reads a :class:`Descriptor`, plans its tiles from it and hands the tiles
to a backend. The same descriptor travels as text in the metadata of the weights file and of the ONNX file, so that a
backend that never imports torch knows as much as one that does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

TASKS = ("dehaze", "derain")
DTYPES = ("fp32", "bf16", "fp16")
PRECISIONS = (*DTYPES, "int8")
"""What a network may be computed in: as numbers of these types, or with its layers' products in 8-bit integers."""
VIEWS = (1, 2, 4, 6)
"""How many views of a photo the mean may be taken of: see :mod:`restorecli.inference.views`."""
LARGEST_OVERVIEW = 1024


@dataclass(frozen=True)
class Descriptor:
    """The outside of a generator that maps an RGB photo to an RGB photo of the same size.

    All lengths are in pixels of the photo.
    """

    task: str
    """``dehaze`` or ``derain``: what the generator removes."""
    architecture: str
    """Which class of ``restorecli.models`` builds it, for example ``unet``."""
    stride: int
    """Height and width of what the network is given must be multiples of this (tile origins too)."""
    halo: int
    """Receptive field radius: an output pixel depends on no input pixel further away than this, and on the thumbnail.
    A tile with this much context around it (and aligned to ``stride``) is exact."""
    thumbnail: int
    """Edge of the square thumbnail of the whole photo that is the second input; 0 when there is none."""
    dtypes: tuple[str, ...] = ("fp32", "bf16", "fp16")
    """Precisions the network is known to work in, best first."""
    place: bool = False
    """Whether a third input says where in the photo the tile lies."""
    features: float = 8.0
    """Values that its widest layers hold for each pixel of the photo: what memory grows with. Files that do not say
    are of networks with 8."""
    views: int = 1
    """Of how many views of a photo it may restore the mean is worth taking: 1; 2, its mirror image too; 4, both of them
    upside down too; 6, the first two enlarged by half too."""
    overview: int = 0
    """Edge of the square to which the whole photo is reduced and restored once more, as what is wrong over large areas
    is seen better there; 0: it is not."""

    def __post_init__(self) -> None:
        """Refuse values that no network can have (:class:`ValueError` names the field)."""
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, not {self.task!r}")
        if self.stride < 1 or self.halo < 0 or self.thumbnail < 0:
            raise ValueError("stride must be at least 1, halo and thumbnail at least 0")
        if not 0 < self.features < 1e6:
            raise ValueError(f"features must be positive, not {self.features}")
        if self.views not in VIEWS:
            raise ValueError(f"views must be 1, 2, 4 or 6, not {self.views}")
        if problem := overview_problem(self.overview, self.stride):
            raise ValueError(problem)
        unknown = [name for name in self.dtypes if name not in DTYPES]
        if unknown or not self.dtypes:
            raise ValueError(f"dtypes must be among {', '.join(DTYPES)}, not {self.dtypes!r}")

    @property
    def least_pixels(self) -> int:
        """Pixels that go through the network at once however small the tiles are: the thumbnail's, where statistics are
        taken from it."""
        return self.thumbnail**2 if self.architecture == "resnet" else 0

    def to_json(self) -> str:
        """The descriptor as one line of JSON, for a file's metadata."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Descriptor:
        """Read what :meth:`to_json` wrote; :class:`ValueError` when it is not that."""
        try:
            values = json.loads(text)
            known = {field.name for field in fields(cls)}
            # What is younger than the first files may be missing.
            if not isinstance(values, dict) or {"place", "features", "views", "overview", *values} != known:
                raise ValueError(f"expected the fields {', '.join(sorted(known))}")
            values["dtypes"] = tuple(values["dtypes"])
            for name in ("stride", "halo", "thumbnail", "views", "overview"):
                if type(values.get(name, 0)) is not int:
                    raise ValueError(f"{name} must be a whole number")
            if type(values.get("place", False)) is not bool:
                raise ValueError("place must be true or false")
            values["features"] = float(values.get("features", cls.features))
            return cls(**values)
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"not a network descriptor: {error}") from error


def overview_problem(edge: int, stride: int) -> str:
    """What is wrong with the edge of a network's overview, one sentence; empty when nothing is."""
    if 0 <= edge <= LARGEST_OVERVIEW and edge % stride == 0:
        return ""
    return f"overview must be 0 or a multiple of {stride} up to {LARGEST_OVERVIEW}, not {edge}"
