"""What the documentation tells people to type, as tests run it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from restorecli.cli.app import run

ROOT = Path(__file__).parents[2]

SET_UP = re.compile(
    r"git clone |cd |(\.venv/bin/)?pip install |python3? -m venv |source |"  # .ci/run sets up and installs
    r"(\.venv/bin/)?python3? -m pytest|ruff |mypy|"  # .ci/run runs these
    r"python benchmarks/"  # on data that nobody has here
)
"""Commands that are not run here."""

ELSEWHERE = re.compile(r"hf://OWNER/REPO|--device cuda")
"""What lies on the network, for which other tests have a server of their own, and what needs a graphics card."""

_TINY = (
    "--set data.batch=2 --crop 64 --steps 2 --device cpu --precision fp32 --workers 0 --set unpaired.batch=2 "
    "--set unpaired.discriminator=8 --set unpaired.degrader=[8,8,12] --set unpaired.patches=16 --set unpaired.queue=8"
)
SUBSTITUTIONS = (
    # What would take hours: two small steps of a small network. What is said last on a command line counts.
    (r"^(restore train .*)$", rf"\1 {_TINY} --set generator.widths=[8,8,16] --set generator.blocks=[1,1,1]"),
    (r"^(restore finetune .*)$", rf"\1 {_TINY}"),
    (r"^(restore benchmark\b.*)$", r"\1 --megapixels 0.05 --runs 1"),
    # A name that stands for weights of one's own, and a large network where a small one shows the same.
    (r"--from (NAME|derain)\b", "--from small.safetensors"),
    # What lies beside the weights is what this writes; the export of weights of one's own is run as it is.
    (r"^restore export derain --onnx$", f"cp {ROOT}/weights/derain.onnx ."),
)
"""How commands are changed before they are run: all that is changed."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a Markdown page, in order."""
    text = page.read_text("utf-8")
    fences = re.findall(r"^```.*$", text, re.MULTILINE)
    assert all(re.fullmatch(r"```\w+", fence) for fence in fences[::2]), f"{page}: a block without a language"
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text[: found.start()].count("\n") + 2, found[1], found[2])


def commands(block: str) -> list[str]:
    """The commands of a shell block, without comments, and without those that set up."""
    lines = re.sub(r"\\\n", " ", block).splitlines()
    parts = [part.strip() for line in lines for part in re.sub(r"(^|\s)#.*", "", line).split("&&")]
    wanted = [part.replace(".venv/bin/", "", 1) for part in parts if part and not SET_UP.match(part)]
    return [command for command in wanted if not ELSEWHERE.search(command)]


def execute(command: str) -> None:
    """Run one command in the working directory: in this process when it needs no shell, else in bash."""
    for pattern, replacement in SUBSTITUTIONS:
        command = re.sub(pattern, replacement, command)
    if command.startswith("restore ") and not re.search(r"[<>|;$]", command):
        try:
            code = run(shlex.split(command)[1:])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        assert code == 0, f"{command}: exit code {code}"
        return
    program = f'restore() {{ "{sys.executable}" -m restorecli "$@"; }}\npython() {{ "{sys.executable}" "$@"; }}\n'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program + command], env=environment, capture_output=True, check=False
    )
    assert found.returncode == 0, f"{command}: {found.stderr.decode(errors='replace')}"
