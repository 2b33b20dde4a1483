"""Weights file -> ONNX file, which is checked against PyTorch before it gets its name."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restorecli import __version__
from restorecli.errors import UsageError, WeightsError
from restorecli.models.descriptor import Descriptor
from restorecli.weights import Weights, final_name, load_network, sha256_of

OPSET = 18
TOLERANCES = {"fp32": 0.25, "fp16": 1.5}
"""How far ONNX Runtime may be from PyTorch in fp32, in levels of 255: less than rounding to 8 bits can show in fp32,
and what fp16 cannot avoid."""

# Multiples of the stride: the smallest there is, unequal sides, a batch.
_CHECKED = ((1, 1, 1), (1, 3, 17), (1, 24, 16), (2, 5, 6))


@dataclass(frozen=True)
class Report:
    """What was written."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    opset: int
    precision: str
    largest_difference: float
    """Between ONNX Runtime and PyTorch in fp32 over all sizes that were tried, in levels of 255."""
    sizes: tuple[tuple[int, int, int], ...]
    """Those sizes: batch, height, width."""


def export_onnx(weights: Weights, out: Path, *, precision: str = "fp32") -> Report:
    """Write the network of a ``.safetensors`` file as one ONNX file with free batch, height and width.

    Inputs ``photo`` (N, 3, H, W) and ``thumbnail`` (N, 3, S, S), output ``restored`` (N, 3, H, W), all float32 in
    [0, 1], whatever ``precision`` (``fp32`` or ``fp16``) the weights have; H and W are multiples of the stride. Where
    the descriptor asks for it, a third input ``place`` (N, 4) says where in the whole photo the tile lies: top, left,
    bottom, right in shares of its height and width.

    Raises :class:`UsageError` for another precision, :class:`WeightsError` when the weights do not load, or when ONNX
    Runtime does not give what PyTorch gives (kind ``parity``), and :class:`PhotoError` when the file cannot be written;
    ``out`` is then as it was before.
    """
    if precision not in TOLERANCES:
        raise UsageError(f"--precision must be one of {', '.join(TOLERANCES)} for export, not {precision!r}")
    exact = load_network(weights)
    with final_name(out) as temporary:
        _convert(weights.descriptor, load_network(weights, precision), temporary)
        _describe(temporary, weights, precision)
        sizes = tuple((n, h * weights.descriptor.stride, w * weights.descriptor.stride) for n, h, w in _CHECKED)
        # Not Python's max, which loses a NaN that is not the first.
        difference = float(np.max([_difference(exact, temporary, weights.descriptor, size) for size in sizes]))
        if not difference <= TOLERANCES[precision]:
            raise WeightsError(
                f"{out} is not written: ONNX Runtime is {difference:.2f} levels of 255 away from PyTorch, more than "
                f"{TOLERANCES[precision]}; these weights do not work in {precision}",
                kind="parity",
            )
    return Report(out, out.stat().st_size, sha256_of(out), OPSET, precision, difference, sizes)


def _convert(descriptor: Descriptor, network: Any, path: Path) -> None:
    import torch
    from torch.export import Dim

    batch, rows, columns = Dim("batch"), Dim("rows"), Dim("columns")
    edge, small = 16 * descriptor.stride, descriptor.thumbnail
    # A batch of two and unequal sides: the exporter takes a 1 and equal lengths for promises.
    example = [torch.rand(2, 3, edge, edge + descriptor.stride), torch.rand(2, 3, small, small), torch.rand(2, 4)]
    free = [{0: batch, 2: descriptor.stride * rows, 3: descriptor.stride * columns}, {0: batch}, {0: batch}]
    count = len(_inputs(descriptor))
    with _quiet():
        torch.onnx.export(
            network,
            tuple(example[:count]),
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=_inputs(descriptor),
            output_names=["restored"],
            dynamic_shapes=tuple(free[:count]),
            external_data=False,
            verbose=False,
        )


def _inputs(descriptor: Descriptor) -> list[str]:
    return ["photo", "thumbnail", *(["place"] if descriptor.place else [])]


def _describe(path: Path, weights: Weights, precision: str) -> None:
    """Add the weights file's metadata and check the graph."""
    import onnx

    model = onnx.load(path)
    descriptor = weights.descriptor
    metadata = dict(weights.metadata) | {
        # The descriptor says these too; here for those who embed the file and read no JSON.
        "task": descriptor.task,
        "stride": str(descriptor.stride),
        "halo": str(descriptor.halo),
        "thumbnail": str(descriptor.thumbnail),
        "exported_by": f"restorecli {__version__}",
        "source_sha256": weights.sha256,
        "opset": str(OPSET),
        "precision": precision,
        "normalisation": "photo and thumbnail: RGB, float32, 0 to 1; restored: the same, not clamped",
    }
    onnx.helper.set_model_props(model, metadata)
    # The exporter notes where in the source each node comes from, paths of this machine among it.
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _difference(network: Any, path: Path, descriptor: Descriptor, size: tuple[int, int, int]) -> float:
    """Largest difference between ONNX Runtime and PyTorch on random numbers of one size, in levels of 255."""
    import torch

    from restorecli.onnx_runtime import onnxruntime

    number, height, width = size
    generator = np.random.default_rng(height * 10_000 + width)
    photo = generator.random((number, 3, height, width), np.float32)
    thumbnail = generator.random((number, 3, descriptor.thumbnail, descriptor.thumbnail), np.float32)
    # Anywhere in a photo, and a little beyond it.
    first, last = generator.uniform(-0.1, 0.5, (number, 2)), generator.uniform(0.5, 1.1, (number, 2))
    place = np.concatenate([first, last], axis=1).astype(np.float32)
    feed = dict(zip(_inputs(descriptor), (photo, thumbnail, place), strict=False))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.run(["restored"], feed)
    with torch.inference_mode():
        wanted = network(*(torch.from_numpy(value) for value in feed.values())).numpy()
    return float(np.abs(np.asarray(given) - wanted).max() * 255)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk about packages that nobody needs here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
