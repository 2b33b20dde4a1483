"""Programs of others that look at the files which are written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NEEDED = "CI"
"""Set where a missing program is a failure, and no reason to pass a test over."""

_COMMANDS = {
    "jpeg": [["identify", "{}"], ["djpeg", "-outfile", os.devnull, "{}"]],
    "png": [["identify", "{}"], ["pngcheck", "-q", "{}"]],
    "tiff": [["identify", "{}"], ["tiffinfo", "{}"]],
    "webp": [["identify", "{}"]],
    "bmp": [["identify", "{}"]],
    "gif": [["identify", "{}"]],
}
_OF_THE_FILE = re.compile(
    r"^(SourceFile$|System:|ExifTool:(?!Warning|Error)|File:(FileType|Directory|FileName|MIMEType))"
)


def need_judges() -> None:
    """Pass the test over where a program is missing, or fail it."""
    missing = [name for name in ("exiftool", "identify", "djpeg", "pngcheck", "tiffinfo") if shutil.which(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)} (see .ci/run)"
        pytest.fail(text) if os.environ.get(NEEDED) else pytest.skip(text)


def complaints(path: Path, format: str) -> list[str]:
    """What they say of a file that they do not accept."""
    found = []
    for command in _COMMANDS.get(format, []):
        done = subprocess.run([part.format(path) for part in command], capture_output=True, text=True, errors="replace")
        if done.returncode:
            found.append(f"{command[0]}: {done.stdout}{done.stderr}")
    return found


def tags_of(folder: Path) -> dict[str, dict[str, Any]]:
    """For each file by its name all that exiftool finds in it, as ``Group:Tag``, but for where and when it is."""
    done = subprocess.run(
        ["exiftool", "-json", "-duplicates", "-groupNames1", "-short", "-binary", "-recurse", str(folder)],
        capture_output=True,
        check=True,
    )
    return {
        Path(found["SourceFile"]).name: {tag: value for tag, value in found.items() if not _OF_THE_FILE.match(tag)}
        for found in json.loads(done.stdout)
    }
