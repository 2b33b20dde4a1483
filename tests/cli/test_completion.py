"""Completion, as bash, zsh and fish ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from restorecli.cli.app import run
from restorecli.weights import catalogue


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "incomplete", "wanted", "unwanted"),
    [
        (["restore", "derain"], "--prec", ["--precision"], "--device"),
        (["restore", "derain", "--weights"], "", [entry.name for entry in catalogue()], "--"),
        (["restore", "weights", "show"], "der", ["derain"], "dehaze"),
    ],
)
def test_candidates(
    shell: str,
    words: list[str],
    incomplete: str,
    wanted: list[str],
    unwanted: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = " ".join([*words, incomplete])
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words))} if shell == "bash" else {"_TYPER_COMPLETE_ARGS": line}
    asked |= {"_RESTORE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        run([])
    found = capsys.readouterr().out
    assert all(word in found for word in wanted) and unwanted not in found


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_after_install_completion(tmp_path: Path) -> None:
    """In a home of its own: what --install-completion writes is sourced, and the function that it defines asked."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    program = bin_folder / "restore"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m restorecli "$@"\n', "utf-8")
    program.chmod(0o755)
    script = (
        "restore --install-completion >/dev/null && . ~/.bashrc && "
        'COMP_WORDS=(restore train --preset fine) COMP_CWORD=3 && _restore_completion restore && echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    found = subprocess.run(
        ["bash", "--norc", "-c", script + "; exit 0"], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["finetune-dehaze", "finetune-derain"], found.stderr
