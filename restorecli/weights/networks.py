"""Networks out of weights files, and into them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restorecli.errors import WeightsError
from restorecli.models.descriptor import Descriptor
from restorecli.photo.atomic import reopened
from restorecli.weights.described import FORMAT, Weights
from restorecli.weights.files import final_name, short
from restorecli.weights.foreign import is_foreign, load_foreign
from restorecli.weights.guards import check_config

if TYPE_CHECKING:
    import torch


def load_network(weights: Weights, dtype: str = "fp32") -> torch.nn.Module:
    """Build the network of a ``.safetensors`` file on the CPU, in evaluation mode, with weights in ``dtype``.

    :class:`WeightsError` when the file does not hold exactly the tensors of the network that its metadata describe.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if weights.is_onnx:
        raise WeightsError(f"{weights.path} is an ONNX file: PyTorch needs the .safetensors file", kind="refused")
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    builders = _builders()
    architecture = weights.descriptor.architecture
    if is_foreign(architecture):
        return load_foreign(weights.path).to(types[dtype])
    if architecture not in builders:
        raise WeightsError(
            f"{weights.path} holds a network of kind {architecture!r}, which this version does not know: "
            "update restorecli",
            kind="corrupt",
        )
    try:
        config = json.loads(weights.metadata["config"])
        check_config(config)
        tensors = load_file(weights.path)
        # First without memory: the file may describe a network that is larger than all there is.
        with torch.device("meta"):
            builders[architecture](config).load_state_dict(tensors, strict=True, assign=True)
        network = builders[architecture](config)
        network.load_state_dict(tensors, strict=True)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{weights.path} does not hold the network that it describes ({short(error)}): get or make it again",
            kind="corrupt",
        ) from error
    return network.to(types[dtype]).eval()


def save_network(
    path: Path, network: torch.nn.Module, descriptor: Descriptor, extra: Mapping[str, str] | None = None
) -> None:
    """Write a network as an fp16 weights file, atomically; ``extra`` is added to its metadata.

    ``network`` has a ``config_dict()``, as every network of ``restorecli.models``. :class:`PhotoError` of kind
    ``unwritable`` or ``disk_full`` when the file cannot be written, in which case nothing is left behind.
    """
    import torch
    from safetensors.torch import save

    state = network.state_dict()
    tensors = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in state.items()}
    config = network.config_dict()  # type: ignore[operator]
    metadata = dict(extra or {}) | {
        "format": FORMAT,
        "descriptor": descriptor.to_json(),
        "config": json.dumps(config, sort_keys=True),
    }
    data = save(tensors, metadata)
    with final_name(path) as temporary, open(reopened(temporary, os.O_WRONLY), "wb") as file:
        file.write(data)


def _builders() -> dict[str, Callable[[dict[str, Any]], torch.nn.Module]]:
    """For each architecture what builds its network from the metadata's ``config``."""
    from functools import partial

    from restorecli.models.generators import ARCHITECTURES, build_generator

    return {name: partial(build_generator, name) for name in ARCHITECTURES}
