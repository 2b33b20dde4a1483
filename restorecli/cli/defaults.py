"""Defaults of options that people set once, in ``restore.toml`` files and environment variables.

From strongest to weakest: the command line, environment variables, ``restore.toml`` in the working directory, the
user's own ``restore.toml``, what is built in. A key is an option without its dashes, at the top for every command that
has it, in a table of the command's name for that one alone, which is the stronger; variables are called likewise::

    backend = "onnx"            # RESTORE_BACKEND=onnx
    [derain]
    strength = 0.8              # RESTORE_DERAIN_STRENGTH=0.8

A working directory may have come with a download. What stands in it can change how pixels are computed, but not which
files are read and written, what is fetched, how much of the machine is taken, or the limits that guard against broken
files; those are for the user's own file and the environment. What replaces or names files is for the command line
alone.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from restorecli.errors import UsageError, WeightsError

FILE = "restore.toml"
PREFIX = "RESTORE_"

OF_A_FOLDER = frozenset({"backend", "device", "precision", "strength", "quality", "preserve-times"})
"""What ``restore.toml`` in the working directory may set."""
OF_THE_USER = OF_A_FOLDER | {
    *("ensemble", "tile", "max-memory", "jobs", "workers", "max-pixels"),
    *("weights", "format", "no-stamp", "offline", "quiet", "verbose"),
}
"""What the user's own file and the environment may set."""

_SPARED = {
    "train": {"precision"},
    "finetune": {"precision"},
    "export": {"precision"},
    "benchmark": {"backend", "device", "precision", "tile", "max-memory"},
}
"""Options that mean something else by the same name, so that a key at the top of a file does not reach them."""
_LARGEST_FILE = 100_000
_META = "restorecli.defaults"


@dataclass(frozen=True)
class Setting:
    """One option that a file or a variable sets."""

    option: str
    """Without its dashes: ``max-memory``."""
    value: str | bool
    source: str
    """The file, or the variable's name."""


def user_file() -> Path:
    """Where the user's own ``restore.toml`` is looked for."""
    import platformdirs

    return platformdirs.user_config_path("restorecli", appauthor=False) / FILE


def files() -> list[tuple[Path, frozenset[str]]]:
    """The files that are there, weakest first, each with the options that it may set."""
    own, here = user_file(), Path(FILE)
    found = [(own, OF_THE_USER)] if os.path.isfile(own) else []
    if os.path.isfile(here) and not (found and here.samefile(own)):
        found.append((here, OF_A_FOLDER))
    return found


def apply(context: typer.Context) -> None:
    """Let the commands below ``context``, that of the app, take their defaults from files and variables.

    :class:`UsageError` names the file and everything in it that is wrong.
    """
    commands = dict(_commands(context.command))
    merged: dict[str, dict[str, tuple[Any, Path]]] = defaultdict(dict)
    for path, allowed in files():
        for command, option, value in _read(path, allowed, commands):
            merged[command][option] = value, path
    for name, options in commands.items():
        for option, parameter in options.items():
            parameter.envvar = variables(name, option)
            # The names are in the documentation; in every line of the help they would hide the rest.
            parameter.show_envvar = False
    context.meta[_META] = merged
    context.default_map = {}
    for name, options in commands.items():
        level = context.default_map
        for part in name.split():
            level = level.setdefault(part, {})
        level.update({options[option].name: value for option, (value, _) in merged[name].items()})


def in_effect(context: typer.Context) -> list[Setting]:
    """What files and variables have set for the command of ``context``."""
    name = context.command_path.partition(" ")[2]
    options = dict(_commands(context.find_root().command)).get(name, {})
    given = preset(context, name)
    return [setting for option, setting in given.items() if by_default(context, options[option].name)]


def by_default(context: typer.Context, parameter: str) -> bool:
    """Whether a parameter's value is a file's or a variable's: then it gives way where it does not apply."""
    return getattr(context.get_parameter_source(parameter), "name", "") in ("ENVIRONMENT", "DEFAULT_MAP")


def preset(context: typer.Context, name: str) -> dict[str, Setting]:
    """What files and variables set for the command called ``name``, wherever the command line does not, by option."""
    if _META not in context.meta:
        return {}
    found = {option: Setting(option, value, str(path)) for option, (value, path) in context.meta[_META][name].items()}
    for option in dict(_commands(context.find_root().command)).get(name, {}):
        variable = next((each for each in variables(name, option) if os.environ.get(each)), None)
        if variable is not None:
            found[option] = Setting(option, os.environ[variable], variable)
    return found


def blame(error: Exception | str, settings: Sequence[Setting]) -> str:
    """What to add to a message about options: where those of them were set that were not on the command line."""
    told = {each for each in settings if f"--{each.option}" in str(error)}
    if isinstance(error, WeightsError):
        told |= {each for each in settings if each.option == "weights"}
    return "".join(f"; {each.option} is set in {each.source}" for each in settings if each in told)


def variables(command: str, option: str) -> list[str]:
    """The environment variables of an option, strongest first; none for what is for the command line alone."""
    if option not in OF_THE_USER:
        return []
    name = option.upper().replace("-", "_")
    own = f"{PREFIX}{command.upper().replace(' ', '_')}_{name}"
    return [own, PREFIX + name] if _for_all(command, option) else [own]


def described(context: typer.Context) -> dict[str, Any]:
    """Everything that sets defaults, for ``restore doctor``: files with their values, strongest first, and variables.

    ``unknown`` are variables that are called like one of ours and set nothing.
    """
    known = {
        variable
        for command, options in _commands(context.find_root().command)
        for option in options
        for variable in variables(command, option)
    }
    ours = {name: value for name, value in sorted(os.environ.items()) if name.startswith(PREFIX) and value}
    used = _META in context.meta
    there = [path for path, _ in files()]
    return {
        "used": used,
        "files": [
            {"path": str(path), "exists": path in there, "values": _flat(path) if used and path in there else {}}
            for path in (Path(FILE), user_file())
        ],
        "variables": {name: value for name, value in ours.items() if name in known},
        "unknown": [name for name in ours if name not in known],
    }


def _flat(path: Path) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tomllib.loads(path.read_text("utf-8")).items():
        flat |= {f"{key}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _for_all(command: str, option: str) -> bool:
    """Whether a key at the top of a file reaches the option of this command."""
    return option not in _SPARED.get(command, ())


def _commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each command's name (``weights list``) and its parameters by the long name of their option."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*above, name))
        else:
            long = ((parameter, each) for parameter in command.params for each in parameter.opts[:1])
            yield (
                " ".join((*above, name)),
                {each.removeprefix("--"): parameter for parameter, each in long if each.startswith("--")},
            )


def _read(
    path: Path, allowed: frozenset[str], commands: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, Any]]:
    """Command, option and value of all that ``path`` sets, the stronger last."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise UsageError(f"{path} is longer than {_LARGEST_FILE} bytes, which is no file of settings: move it away")
        values = tomllib.loads(content.decode("utf-8"))
        # Numbers of thousands of digits cannot be shown, nor be anybody's setting.
        repr(values)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    problems: list[str] = []
    found: list[tuple[str, str, Any]] = []

    def take(shown: str, option: str, value: Any, targets: Mapping[str, Mapping[str, Any]]) -> None:
        known = {name: parameter for options in targets.values() for name, parameter in options.items()}
        problem = _problem(shown, option, value, allowed, known)
        if problem:
            problems.append(problem)
        else:
            text = value if isinstance(value, bool) else str(value)
            found.extend((name, option, text) for name, options in targets.items() if option in options)

    tables = {name: options for name, options in commands.items() if " " not in name}
    # Values for one command are laid over those for all.
    for key, value in sorted(values.items(), key=lambda item: isinstance(item[1], dict)):
        if isinstance(value, dict) and key in tables:
            for option, one in value.items():
                take(f"{key}.{option}", option, one, {key: commands[key]})
        elif isinstance(value, dict):
            problems.append(f"unknown table [{key}]{_nearest(key, tables)}")
        elif key in tables:
            problems.append(f"{key} must be a table, [{key}]")
        else:
            take(key, key, value, {name: options for name, options in commands.items() if _for_all(name, key)})
    if problems:
        raise UsageError(f"{path}: " + "; ".join(problems))
    yield from found


def _problem(shown: str, option: str, value: Any, allowed: frozenset[str], known: Mapping[str, Any]) -> str | None:
    """What is wrong with a key of a file, None when nothing is."""
    if option not in known:
        return f"unknown key {shown}{_nearest(option, allowed & set(known))}"
    if option not in OF_THE_USER:
        return f"{shown} is for the command line alone"
    if option not in allowed:
        return (
            f"{shown} is not for a file that may have come with its folder: "
            f"set it in {user_file()}, or on the command line"
        )
    flag = known[option].is_flag
    if not isinstance(value, bool | int | float | str) or isinstance(value, bool) is not flag:
        return f"{shown} must be {'true or false' if flag else 'text or a number'}, not {value!r}"
    return None


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), sorted(known), 1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else f" (there are {', '.join(sorted(known))})"
