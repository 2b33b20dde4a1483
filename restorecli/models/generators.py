"""The generators that restore, and how each is built from the plain values that describe it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restorecli.models.resnet import ResNet, ResNetConfig
from restorecli.models.unet import UNet, UNetConfig

Generator = UNet | ResNet

ARCHITECTURES = ("unet", "resnet")


def build_generator(architecture: str, values: Mapping[str, Any]) -> Generator:
    """The network of that architecture whose ``config_dict()`` gave ``values``, with fresh weights.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` when there is no such architecture, field or shape.
    """
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    if architecture == "unet":
        return UNet(UNetConfig(**plain))
    if architecture == "resnet":
        return ResNet(ResNetConfig(**plain))
    raise KeyError(architecture)
