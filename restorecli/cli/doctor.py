"""``restore doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from restorecli.cli.console import Console
from restorecli.cli.options import Json, Offline, Quiet, Verbose, console_of
from restorecli.errors import BackendError, WeightsError

if TYPE_CHECKING:
    from restorecli.cli.machine import Trial


def doctor(
    context: typer.Context,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """What is installed, which devices really run, what would be used and why."""
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    _installed(console)
    return max(_task(console, task) for task in ("dehaze", "derain"))


def _installed(console: Console) -> None:
    import platform

    from restorecli import __version__
    from restorecli.cli import machine
    from restorecli.hardware import cpu_has_fast_bf16, usable_cores

    packages = {name: machine.version_of(name) for name in machine.PACKAGES}
    devices = {name: machine.devices_of(name) for name in ("torch", "onnxruntime")}
    facts = {"restorecli": __version__, "python": platform.python_version(), "system": platform.platform()}
    cpu = {"cores": usable_cores(), "fast_bf16": cpu_has_fast_bf16()}
    console.value(facts | cpu | {"packages": packages, "devices": devices})
    bf16 = "multiplies bf16 in hardware" if cpu["fast_bf16"] else "has no fast bf16"
    rows = [*facts.items(), ("cpu", f"{cpu['cores']} cores, {bf16}")]
    for name, version in packages.items():
        where = f": {', '.join(devices[name])}" if name in devices else ""
        rows.append((name, (version or "not installed") + where))
    console.table(("what", "which"), rows)
    if machine.both_onnx_runtimes():
        console.error(
            "onnxruntime and onnxruntime-gpu are both installed and hide one another: "
            "uninstall both, then install restorecli again"
        )


def _task(console: Console, task: str) -> int:
    """Tell of one task's weights and backends; the exit code that a user's call would meet."""
    from restorecli.cli.machine import try_backend, try_backends
    from restorecli.weights import resolve

    try:
        weights = resolve(None, task)
    except WeightsError as error:
        console.failure({"task": task, "weights": None}, error)
        return error.exit_code
    trials, chosen = list(try_backends(weights)), try_backend(weights)
    console.note("")
    console.table(
        (f"{task} with {weights.name}", "device", "state"),
        [(trial.backend, trial.device, trial.problem or f"runs in {trial.precision}") for trial in trials],
    )
    values = {
        "task": task,
        "weights": weights.name,
        "backends": [asdict(trial) for trial in trials],
        "used": asdict(chosen),
    }
    if chosen.problem is not None:
        failure = BackendError(chosen.problem)
        console.failure(values, failure)
        return failure.exit_code
    console.result(
        f"used: {chosen.backend} on {chosen.device} in {chosen.precision}: {_why(chosen)}", values | {"error": None}
    )
    return 0


def _why(chosen: Trial) -> str:
    """The reason for what ``auto`` chose, by the rule of ``restorecli.inference.backends.selection``."""
    from restorecli.hardware import cpu_has_fast_bf16
    from restorecli.inference.backends.machine import has_cuda_driver

    if chosen.device.startswith("cuda"):
        return "a CUDA device is there"
    cuda = "there is a CUDA driver, but PyTorch cannot use it, and " if has_cuda_driver() else ""
    if chosen.backend == "onnx":
        cpu = "for weights without bf16" if cpu_has_fast_bf16() else "on a CPU without fast bf16"
        return f"{cuda}{cpu} ONNX Runtime is as fast as torch and starts sooner"
    if chosen.precision == "bf16":
        return f"{cuda}this CPU multiplies bf16 in hardware, which torch uses"
    return f"{cuda}these weights have no ONNX file for ONNX Runtime"
