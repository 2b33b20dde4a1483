"""One example for each command, shown at the end of its help; the tests run them all."""

from __future__ import annotations

from typing import Any

EXAMPLES = {
    "dehaze": "restore dehaze holiday/ --out clear/",
    "derain": "restore derain photo.jpg --strength 0.8",
    "train": "restore train --hazy HAZY/ --clear CLEAR/ --time-limit 2h",
    "finetune": "restore finetune --from derain --rainy RAINY/ --clean CLEAN/",
    "export": "restore export runs/derain/generator.safetensors --onnx",
    "eval": "restore eval --task derain --input TEST/rainy --target TEST/clean",
    "compare": "restore compare photo.jpg photo_derained.jpg",
    "weights list": "restore weights list",
    "weights show": "restore weights show derain",
    "weights pull": "restore weights pull hf://OWNER/REPO@v1/generator.safetensors",
    "weights verify": "restore weights verify",
    "weights pack": "restore weights pack runs/derain --out my-derain",
    "benchmark": "restore benchmark --weights derain --backend onnx --megapixels 1",
    "doctor": "restore doctor",
}


def add_examples(group: Any, above: str = "") -> None:
    """Put its example at the end of the help of each command below ``group``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            add_examples(command, f"{above}{name} ")
        elif f"{above}{name}" in EXAMPLES:
            command.epilog = f"Example: {EXAMPLES[above + name]}"
