"""Write docs/commands.md, the reference of the command line, from the program itself.

python docs/make_commands.py
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from restorecli.cli import defaults
from restorecli.cli.app import app
from restorecli.cli.examples import EXAMPLES

OUT = Path(__file__).with_name("commands.md")

HEAD = """\
# Commands

Made by `python docs/make_commands.py`; `restore COMMAND --help` says the same.

```text
restore [--version] [--no-config] [--install-completion] [--show-completion] COMMAND ...
```

- `--version`: versions of restorecli and of what it runs on, with their devices
- `--no-config`: take no defaults from `restore.toml` and `RESTORE_` variables
- `--install-completion`, `--show-completion`: complete commands, options and names in the shell that runs
  (bash, zsh, fish, PowerShell): install that, or show what would be installed
- `-h`, `--help`: on the program and on each command

An option with a variable after it can be set for good: see [configuration.md](configuration.md).

| exit code | meaning |
| --- | --- |
| 0 | everything asked for was done (skips included) |
| 1 | some photos failed, each named with its reason; all others are done |
| 2 | the command line is wrong; nothing was done |
| 3 | weights missing, corrupt, of the wrong task, or not to be had offline |
| 4 | the backend, device or precision asked for is not available |
| 5 | a training run cannot start or go on |
| 130 | interrupted; finished photos are kept, nothing is half written |
| 141 | whoever read the output stopped reading; as for 130 |
"""


def main() -> None:
    OUT.write_text(text(), "utf-8")


def text() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_command(name, help, callback) for name, help, callback in commands(app))])


def commands(group: typer.Typer, above: str = "") -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Name (``weights list``), help and function of each command."""
    for found in group.registered_commands:
        assert found.callback is not None
        help = found.help or inspect.getdoc(found.callback) or ""
        yield above + (found.name or found.callback.__name__), inspect.cleandoc(help), found.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{above}{inner.name} ")


def _command(name: str, help: str, callback: Callable[..., Any]) -> str:
    parameters = list(_parameters(callback))
    arguments = [
        metavar(info, kind, key) if default is inspect.Parameter.empty else f"[{metavar(info, kind, key).strip('[]')}]"
        for key, info, kind, default in parameters
        if isinstance(info, ArgumentInfo)
    ]
    lines = [f"## restore {name}", "", help, "", "```text", " ".join(["restore", name, *arguments, "[OPTIONS]"]), "```"]
    lines += ["", *(_line(name, *parameter) for parameter in parameters)]
    if name in EXAMPLES:
        lines += ["", "```sh", EXAMPLES[name], "```"]
    return "\n".join(lines) + "\n"


def _parameters(callback: Callable[..., Any]) -> Iterator[tuple[str, OptionInfo | ArgumentInfo, Any, Any]]:
    """Name, Typer's description, type and default of each parameter of a command."""
    hints = typing.get_type_hints(callback, include_extras=True)
    for key, parameter in inspect.signature(callback).parameters.items():
        if typing.get_origin(hints[key]) is typing.Annotated:
            kind, info = typing.get_args(hints[key])[:2]
            yield key, info, kind, parameter.default


def _line(command: str, key: str, info: OptionInfo | ArgumentInfo, kind: Any, default: Any) -> str:
    help = info.help or ""
    help = help if help.endswith("...") else help.removesuffix(".")
    notes = []
    if isinstance(default, enum.Enum | str | int | float) and not isinstance(default, bool) and info.show_default:
        notes.append(f"default {default.value if isinstance(default, enum.Enum) else default}")
    if info.min is not None and info.max is not None:
        notes.append(f"from {info.min} to {info.max}")
    elif info.min is not None:
        notes.append(f"at least {info.min}")
    if default is inspect.Parameter.empty and isinstance(info, OptionInfo):
        notes.append("required")
    if isinstance(info, ArgumentInfo):
        shown = metavar(info, kind, key).strip("[]")
    else:
        # Within Annotated, Typer keeps an option's name where its default would be.
        names = (info.default, *(info.param_decls or ()))
        option = next(each for each in names if isinstance(each, str) and each.startswith("--"))
        shown = option if kind is bool else f"{option} {metavar(info, kind, key)}"
        notes += [f"`{variable}`" for variable in defaults.variables(command, option.removeprefix("--"))[-1:]]
    return f"- `{shown}`: {help}" + (f" ({', '.join(notes)})" if notes else "")


def metavar(info: OptionInfo | ArgumentInfo, kind: Any, key: str) -> str:
    """What stands for the value of a parameter."""
    if info.metavar:
        return info.metavar + "..." * (isinstance(info, ArgumentInfo) and typing.get_origin(kind) is list)
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    for one in kinds:
        if isinstance(one, type) and issubclass(one, enum.Enum):
            return "|".join(str(choice.value) for choice in one)
    return {int: "N", float: "X"}.get(kinds[0], key.upper())


if __name__ == "__main__":
    main()
