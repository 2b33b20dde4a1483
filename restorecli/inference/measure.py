"""How fast one way of running a network is on this machine, and how much memory it takes.

Each is measured in a process of its own: peak memory is a matter of the whole process, libraries that compute disturb
one another, and what crashes there ends nothing here.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from restorecli.errors import RestoreError
from restorecli.models.descriptor import Descriptor
from restorecli.weights import Weights


@dataclass(frozen=True)
class Setting:
    """One way of running a network; as asked for, or as it really ran."""

    backend: str
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.device} {self.precision}"


@dataclass(frozen=True)
class Measurement:
    """What came of one setting."""

    setting: Setting
    """As it really ran; as asked for when it did not."""
    seconds: tuple[float, ...] = ()
    """Of each timed run."""
    megapixels: float = 0.0
    """Of the photo that each run restored."""
    start: float = 0.0
    """Seconds from nothing to the first restored photo: process, libraries, weights, first run."""
    peak_memory: int | None = None
    """Bytes of main memory that the process held at most, None where the system does not say."""
    device_memory: int | None = None
    """Bytes that PyTorch held on a CUDA device at most."""
    tiles: int = 0
    problem: str | None = None
    """Why it did not run."""

    @property
    def seconds_per_megapixel(self) -> float:
        """The median of the runs, infinite when there are none."""
        return statistics.median(self.seconds) / self.megapixels if self.seconds else math.inf


def measure(
    weights: Weights,
    setting: Setting,
    *,
    height: int,
    width: int,
    tile: int | str = "auto",
    max_memory: int | None = None,
    runs: int = 3,
    give_up: float | None = None,
    timeout: float | None = None,
) -> Measurement:
    """Restore an 8-bit photo of noise, ``height`` x ``width``, ``runs`` times after a first time, in a new process.

    When the first run takes more than ``give_up`` seconds it is the only one and counts; after ``timeout`` seconds the
    process is ended. Never raises: what goes wrong is the measurement's ``problem``.
    """
    request = {
        "weights": asdict(replace(weights, descriptor=None))  # type: ignore[arg-type]
        | {"path": str(weights.path), "onnx": str(weights.onnx) if weights.onnx else None},
        "descriptor": weights.descriptor.to_json(),
        "setting": asdict(setting),
        "photo": [height, width],
        "engine": {"tile": tile, "max_memory": max_memory},
        "runs": runs,
        "give_up": give_up,
    }
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.getenv("PYTHONPATH")])])}
    try:
        done = subprocess.run(
            # Safe path: a file in the current folder is no module of ours.
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps(request),
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        values = json.loads(done.stdout.splitlines()[-1])
        return Measurement(Setting(**values.pop("setting")), tuple(values.pop("seconds")), **values)
    except subprocess.TimeoutExpired:
        return Measurement(setting, problem=f"not done after {timeout:.0f} s")
    except (IndexError, ValueError, TypeError, KeyError):
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Measurement(setting, problem=f"its process ended early: {reason}")
    except OSError as error:
        return Measurement(setting, problem=f"no process can be started: {error.strerror or error}")


def _run(request: Mapping[str, Any]) -> Measurement:
    """What the new process does."""
    started = time.perf_counter()
    import numpy as np

    from restorecli.hardware import keep_memory
    from restorecli.inference.footprint import peak_memory
    from restorecli.inference.restorer import Restorer
    from restorecli.photo import Photo

    keep_memory()
    given = request["weights"]
    weights = Weights(
        **given
        | {
            "path": Path(given["path"]),
            "onnx": Path(given["onnx"]) if given["onnx"] else None,
            "descriptor": Descriptor.from_json(request["descriptor"]),
        }
    )
    asked = Setting(**request["setting"])
    try:
        # One view: several would make small photos seem slower, by the pixel, than large ones.
        restorer = Restorer(weights.task, weights=weights, ensemble=1, **asdict(asked), **request["engine"])
        height, width = request["photo"]
        photo = Photo(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
        _, details = restorer.restore_photo(photo)
        start = time.perf_counter() - started
        seconds = [details.seconds]
        if request["give_up"] is None or details.seconds <= request["give_up"]:
            seconds = [restorer.restore_photo(photo)[1].seconds for _ in range(request["runs"])]
    except RestoreError as error:
        return Measurement(asked, problem=str(error))
    return Measurement(
        setting=Setting(details.backend, details.device, details.precision),
        seconds=tuple(seconds),
        megapixels=height * width / 1e6,
        start=start,
        peak_memory=peak_memory(),
        device_memory=_device_memory(details.device),
        tiles=details.tiles,
    )


def _device_memory(device: str) -> int | None:
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_reserved(device) if torch is not None and device.startswith("cuda") else None


if __name__ == "__main__":
    print(json.dumps(asdict(_run(json.load(sys.stdin)))))
