"""Weights files: which there are, whether they are sound, and the network that they hold.

A weights file is a safetensors file whose metadata says everything else, all of it text:

* ``format``: ``restorecli-generator-1``
* ``descriptor``: what the engine must know (:meth:`restorecli.models.descriptor.Descriptor.to_json`)
* ``config``: the shape of the network, as JSON
* ``ranges``, optional: between which values the inputs of its layers lie, for 8-bit integers
  (:mod:`restorecli.weights.ranges`)
* anything more that whoever made it wants to say (``version``, ``preset``, ``steps``, ...)

An ONNX twin carries the same keys, and ``source_sha256``: the SHA-256 of the weights file that it was made from. It
lies beside the weights file under the same name with ``.onnx``. Pickles are never opened: they run code.

The weights that come with the program are listed in ``weights/weights.toml``::

    [[weights]]
    name = "derain-1"                       # what --weights takes; unique
    task = "derain"                         # or "dehaze"
    default = true                          # what the task uses when nothing is asked for; one a task
    file = "derain.safetensors"             # beside weights.toml, as the other files
    sha256 = "64 hexadecimal digits"
    onnx = "derain.onnx"                    # optional, with its checksum
    onnx_sha256 = "64 hexadecimal digits"
    licence = "Apache-2.0"
    card = "derain.md"
    hub = "hf://OWNER/REPO@COMMIT/FILE"     # optional: where to pull the weights file from when it is not beside

    [weights.figures]                       # optional: measured figures, number or text
    "val/rain_heavy, gain in dB (PSNR-Y)" = 7.4
"""

from __future__ import annotations

from restorecli.weights.catalogued import Entry, catalogue, weights_folder
from restorecli.weights.described import FORMAT, Weights
from restorecli.weights.files import final_name, sha256_of
from restorecli.weights.hub import HF_DEFAULT_FILE
from restorecli.weights.networks import load_network, save_network
from restorecli.weights.resolving import pull, resolve, verify

__all__ = [
    "FORMAT",
    "HF_DEFAULT_FILE",
    "Entry",
    "Weights",
    "catalogue",
    "final_name",
    "load_network",
    "pull",
    "resolve",
    "save_network",
    "sha256_of",
    "verify",
    "weights_folder",
]
