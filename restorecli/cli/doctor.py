"""``restore doctor``."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from restorecli.cli import defaults
from restorecli.cli.console import Console
from restorecli.cli.options import Json, Offline, Quiet, Verbose, console_of
from restorecli.errors import BackendError, WeightsError

if TYPE_CHECKING:
    from restorecli.cli.defaults import Setting


def doctor(
    context: typer.Context,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """What is installed, what clashes, which devices really run, what would be used and why, and what to do about it.

    Exit code 4 when what would be used does not run, or when packages clash.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    clash = _installed(console, context)
    return max(clash, *(_task(console, task, defaults.preset(context, task)) for task in ("dehaze", "derain")))


def _installed(console: Console, context: typer.Context) -> int:
    """Tell of the machine, its packages and what sets defaults; the exit code of what is seriously wrong with it."""
    from restorecli import __version__
    from restorecli.cli import machine
    from restorecli.cli.advice import advise
    from restorecli.hardware import cpu_has_fast_bf16, cpu_has_fast_int8, usable_cores

    packages = {name: machine.version_of(name) for name in machine.PACKAGES}
    devices = {name: machine.devices_of(name) for name in ("torch", "onnxruntime", "openvino")}
    found = machine.find(devices)
    told = advise(found)
    config = defaults.described(context)
    facts = {"restorecli": __version__, "python": platform.python_version(), "system": platform.platform()}
    cpu = {"cores": usable_cores(), "fast_bf16": cpu_has_fast_bf16(), "fast_int8": cpu_has_fast_int8()}
    console.value(
        facts
        | cpu
        | {"cards": list(found.cards), "packages": packages, "devices": devices}
        | {"advice": [asdict(each) for each in told], "config": config}
    )
    fast = [name for name in ("bf16", "int8") if cpu[f"fast_{name}"]]
    rows = [*facts.items(), ("cpu", f"{cpu['cores']} cores, fast in {' and '.join(fast) or 'fp32 alone'}")]
    rows += [("card", card) for card in found.cards]
    for name, version in packages.items():
        where = f": {', '.join(devices[name])}" if name in devices else ""
        rows.append((name, (version or "not installed") + where))
    rows += [("defaults", line) for line in _lines(config)]
    console.table(("what", "which"), rows)
    for each in told:
        line = f"{each.problem}; remedy: {each.remedy}"
        if each.serious:
            console.error(line)
        else:
            console.note(line)
    return BackendError.exit_code if any(each.serious for each in told) else 0


def _lines(config: dict[str, Any]) -> list[str]:
    """What sets defaults, for people."""
    if not config["used"]:
        return ["none: --no-config"]
    lines = []
    for file in config["files"]:
        values = ", ".join(f"{key} = {value}" for key, value in file["values"].items())
        lines.append(f"{file['path']}: {values or 'nothing'}" if file["exists"] else f"{file['path']}: not there")
    lines += [f"{name}={value}" for name, value in config["variables"].items()]
    return lines + [f"{name} is called like an option's variable, but sets nothing" for name in config["unknown"]]


def _task(console: Console, task: str, preset: dict[str, Setting]) -> int:
    """Tell of one task's weights and backends; the exit code that a user's call would meet, defaults and all."""
    from restorecli.cli.machine import try_backend, try_backends
    from restorecli.inference.backends.choice import choose
    from restorecli.weights import resolve

    try:
        weights = resolve(str(preset["weights"].value) if "weights" in preset else None, task)
    except WeightsError as error:
        console.failure({"task": task, "weights": None}, error)
        return error.exit_code
    wishes = {name: str(preset[name].value) for name in ("backend", "device", "precision") if name in preset}
    trials, chosen = list(try_backends(weights)), try_backend(weights, **wishes)
    choice = choose(weights, *(wishes.get(name, "auto") for name in ("backend", "device", "precision")))
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
        "why": choice.why,
        "seconds_per_megapixel": {
            str(setting): None if math.isinf(seconds) else seconds for setting, seconds in choice.figures
        },
    }
    if chosen.problem is not None:
        failure = BackendError(chosen.problem)
        console.failure(values, failure)
        return failure.exit_code
    set_in = ", ".join(f"{name} is set in {preset[name].source}" for name in wishes)
    console.result(
        f"used: {chosen.backend} on {chosen.device} in {chosen.precision}: {set_in or choice.why}",
        values | {"error": None},
    )
    return 0
