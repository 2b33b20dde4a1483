"""Everything that the README and docs/ tell people to type or to write is done here, on small photos."""

from __future__ import annotations

import re
import runpy
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorecli.cli import defaults
from restorecli.cli.app import tree
from restorecli.cli.examples import EXAMPLES
from tests.docs.shell import ROOT, blocks, commands, execute
from tests.small import noise

REFERENCE = ROOT / "docs" / "commands.md"
"""Its commands are the examples of the help, which have a test of their own."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").glob("*.md")} - {REFERENCE})]


READS_ONLY = re.compile("restore (doctor|weights)")
"""Commands that need not be run again on the next page."""
done: set[str] = set()


@pytest.fixture
def scratch(tmp_path: Path, weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the documentation speaks of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    for index, name in enumerate(["photo.jpg", "hazy.jpg", "in.png", "holiday/1.jpg", "holiday/more/2.png"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(noise(90, 120, seed=index)).save(path)
    for name in ("hazy.jpg", "rainy.jpg"):
        Image.open(ROOT / "examples" / name).resize((128, 96)).save(tmp_path / "examples" / name)
    Image.fromarray(noise(90, 120, 1, np.uint16)[..., 0]).save(tmp_path / "photo.tif")
    for folder in ("HAZY", "CLEAR", "RAINY", "CLEAN", "TEST/rainy", "TEST/clean"):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(noise(96, 112, seed=index)).save(tmp_path / folder / f"{index}.png")
    shutil.copy(weights_files["derain"], tmp_path / "small.safetensors")
    (tmp_path / "runs" / "derain").mkdir(parents=True)
    shutil.copy(weights_files["derain"], tmp_path / "runs" / "derain" / "generator.safetensors")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, scratch: Path) -> None:
    """Every shell and Python block, in order, in one folder; Python blocks share their names."""
    if page.name == "README.md":
        # What the run of the tour is called, whose weights come before their training.
        shutil.rmtree(scratch / "runs")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        elif block.language == "sh":
            for command in commands(block.text):
                if command not in done:
                    execute(command)
                if READS_ONLY.match(command):
                    done.add(command)
        elif block.language == "toml" and block.text.startswith("# restore.toml"):
            assert tomllib.loads(block.text)
            (scratch / "restore.toml").write_text(block.text, "utf-8")
            execute("restore derain photo.jpg --dry-run")
        else:
            assert block.language in ("text", "json"), f"{page}:{block.line}: nobody checks a {block.language} block"


TRIED_ELSEWHERE = {
    "hf://OWNER": "weights/test_hub.py",
    "theirs.pth": "weights/test_foreign.py",
    "--niqe": "end_to_end/test_other_commands.py",
    "torchrun": "training/test_resuming.py",
}
"""What the commands in blocks of plain text need is not here: the tests that have it, or something in its place."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_plain_text_are_tried_elsewhere(page: Path) -> None:
    for block in blocks(page):
        for command in commands(block.text) if block.language == "text" else ():
            (place,) = (place for part, place in TRIED_ELSEWHERE.items() if part in command)
            assert (ROOT / "tests" / place).exists(), command


def test_embedding_gives_what_the_program_gives(scratch: Path) -> None:
    Image.open(ROOT / "examples" / "rainy.jpg").crop((0, 0, 333, 250)).save(scratch / "photo.png")
    shutil.copy(ROOT / "weights" / "derain.onnx", scratch)
    (code,) = (block.text for block in blocks(ROOT / "docs" / "embedding.md") if block.language == "python")
    exec(code.replace("photo.jpg", "photo.png").replace("tile=512", "tile=128"), {})
    execute("restore derain photo.png --out program.png --backend onnx --device cpu --ensemble 1")
    embedded, program = (np.asarray(Image.open(scratch / name)).astype(int) for name in ("embedded.png", "program.png"))
    difference = np.abs(embedded - program)
    assert difference.max() <= 2 and difference.mean() < 0.05
    assert np.abs(program - np.asarray(Image.open(scratch / "photo.png")).astype(int)).mean() > 1


def _all_commands(group: object, above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        deeper = hasattr(command, "commands")
        found |= _all_commands(command, f"{above}{name} ") if deeper else {above + name: command}
    return found


COMMANDS = _all_commands(tree())


def test_each_command_has_an_example() -> None:
    assert set(COMMANDS) == set(EXAMPLES)
    for name, command in COMMANDS.items():
        assert command.epilog == f"Example: {EXAMPLES[name]}"  # type: ignore[attr-defined]
        assert EXAMPLES[name].startswith(f"restore {name}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, scratch: Path) -> None:
    shutil.copy("photo.jpg", "photo_derained.jpg")
    on_pages = {command for page in PAGES for block in blocks(page) for command in commands(block.text)}
    for command in commands(EXAMPLES[name]):
        if command not in on_pages:
            execute(command)


def test_the_command_reference_is_of_this_program() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_commands.py"))
    made = REFERENCE.read_text("utf-8")
    assert made == page["text"](), "run `python docs/make_commands.py`"
    for name in COMMANDS:
        assert f"\n## restore {name}\n" in made


def test_what_may_be_set_where_is_as_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = [set(re.findall(r"`([a-z-]+)`", row.split("|")[1])) for row in text.splitlines() if row.startswith("| `")]
    assert rows == [set(defaults.OF_A_FOLDER), set(defaults.OF_THE_USER - defaults.OF_A_FOLDER)]


@pytest.mark.parametrize("page", [*PAGES, REFERENCE], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page}: {target}"
