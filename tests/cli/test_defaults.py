"""Defaults from files and variables: which wins, what each may set, and what is told of wrong ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from restorecli.cli import defaults, restore_photos
from restorecli.cli.app import run


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own file, and an empty working directory."""
    path = tmp_path / "config" / "restore.toml"
    path.parent.mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(defaults, "user_file", lambda: path)
    monkeypatch.chdir(tmp_path / "work")
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[restore_photos._Request]:
    """What ``dehaze`` and ``derain`` were asked for, instead of doing it."""
    found: list[restore_photos._Request] = []

    def note(request: restore_photos._Request, *_: object, **__: object) -> int:
        found.append(request)
        return 0

    monkeypatch.setattr(restore_photos, "_restore_files", note)
    return found


def test_the_nearer_wins(
    user_file: Path, asked: list[restore_photos._Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    def quality(*arguments: str, task: str = "derain") -> int:
        assert run([task, "a.jpg", *arguments]) == 0
        return int(asked[-1].output["quality"])

    assert quality() == 95
    user_file.write_text("quality = 11\n[derain]\nquality = 12\n", "utf-8")
    assert (quality(task="dehaze"), quality()) == (11, 12)
    Path("restore.toml").write_text("quality = 21\n", "utf-8")
    assert quality() == 21
    Path("restore.toml").write_text("[derain]\nquality = 22\n", "utf-8")
    assert (quality(task="dehaze"), quality()) == (11, 22)
    monkeypatch.setenv("RESTORE_QUALITY", "31")
    monkeypatch.setenv("RESTORE_DERAIN_QUALITY", "32")
    assert (quality(task="dehaze"), quality()) == (31, 32)
    assert quality("--quality", "41") == 41
    assert run(["--no-config", "derain", "a.jpg"]) == 0
    assert asked[-1].output["quality"] == 95


def test_the_folders_file_is_told_of(
    user_file: Path, asked: list[restore_photos._Request], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("restore.toml").write_text('backend = "onnx"\nstrength = 0.5\n', "utf-8")
    assert run(["derain", "a.jpg", "--strength", "1"]) == 0
    assert asked[-1].engine["backend"] == "onnx" and asked[-1].engine["strength"] == 1
    assert capsys.readouterr().err == "restore.toml of this folder sets backend = onnx\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('bakend = "onnx"', "unknown key bakend (did you mean backend?)"),
        ("[deran]\nquality = 3", "unknown table [deran] (did you mean derain?)"),
        ("derain = 3", "derain must be a table"),
        ("[derain]\nstrenth = 0.5", "unknown key derain.strenth (did you mean strength?)"),
        ("quality = true", "quality must be text or a number"),
        ("preserve-times = 1", "preserve-times must be true or false"),
        ("quality = [1]", "quality must be text or a number"),
        ("quality = ", "is not valid TOML"),
        ("quality = 0x" + "f" * 9000, "is not valid TOML"),
        ("quality = " + "[" * 9000, "is not valid TOML"),
        ("#" * 200_000, "no file of settings"),
    ],
)
def test_wrong_files(text: str, told: str, user_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (user_file, Path("restore.toml")):
        path.write_text(text, "utf-8")
        assert run(["derain", "a.jpg"]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"restore: {path}") and told in err and err.count("\n") == 1
        path.unlink()


@pytest.mark.parametrize("option", ["out", "overwrite", "json", "dry-run"])
def test_what_is_for_the_command_line_alone(
    option: str, user_file: Path, asked: list[restore_photos._Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text(f"{option} = true", "utf-8")
    assert run(["derain", "a.jpg"]) == 2
    user_file.unlink()
    monkeypatch.setenv(f"RESTORE_{option.upper().replace('-', '_')}", "1")
    assert run(["derain", "a.jpg"]) == 0
    assert asked[-1].out is None and not asked[-1].output["overwrite"]


@pytest.mark.parametrize(
    "line", ['weights = "hf://a/b"', 'format = "png"', 'max-pixels = "9999MP"', "jobs = 999", "quiet = true"]
)
def test_a_folders_file_names_no_files_and_lifts_no_limits(
    line: str, user_file: Path, asked: list[restore_photos._Request], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("restore.toml").write_text(line, "utf-8")
    for text in (line, f"[derain]\n{line}"):
        Path("restore.toml").write_text(text, "utf-8")
        assert run(["derain", "a.jpg"]) == 2
        assert "may have come with its folder" in capsys.readouterr().err
    Path("restore.toml").rename(user_file)
    assert run(["derain", "a.jpg"]) == 0


def test_the_users_file_is_no_folders_file(
    user_file: Path, asked: list[restore_photos._Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user_file.parent)
    user_file.write_text('format = "png"', "utf-8")
    assert run(["derain", "a.jpg"]) == 0
    assert asked[-1].output["format"] == "png"


@pytest.mark.parametrize(("value", "told"), [("0", "'--quality'"), ("three", "'--quality'")])
def test_a_wrong_value_names_its_source(
    value: str, told: str, user_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    user_file.write_text(f'quality = "{value}"', "utf-8")
    assert run(["derain", "a.jpg"]) == 2
    assert f"quality is set in {user_file}" in capsys.readouterr().err
    monkeypatch.setenv("RESTORE_DERAIN_TILE", "big")
    assert run(["derain", "a.jpg", "--quality", "3"]) == 2
    err = capsys.readouterr().err
    assert "tile is set in RESTORE_DERAIN_TILE" in err and "quality" not in err
    monkeypatch.setenv("RESTORE_WEIGHTS", "derian")
    assert run(["derain", "a.jpg", "--quality", "3", "--tile", "64"]) == 3
    assert "weights is set in RESTORE_WEIGHTS" in capsys.readouterr().err


def test_flags_from_variables(
    user_file: Path, asked: list[restore_photos._Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("preserve-times = true", "utf-8")
    assert run(["derain", "a.jpg"]) == 0
    assert asked[-1].preserve_times
    monkeypatch.setenv("RESTORE_PRESERVE_TIMES", "0")
    assert run(["derain", "a.jpg"]) == 0
    assert not asked[-1].preserve_times


def test_precision_at_the_top_is_not_that_of_training(user_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user_file.write_text('precision = "fp16"', "utf-8")
    assert run(["train"]) == 2
    assert "--hazy DIR" in capsys.readouterr().err
    user_file.write_text('[train]\nprecision = "int8"', "utf-8")
    assert run(["train"]) == 2
    assert f"precision is set in {user_file}" in capsys.readouterr().err


def test_where_the_users_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        assert defaults.user_file() == tmp_path / "restorecli" / "restore.toml"


def test_what_is_set_for_all_gives_way_where_it_cannot_be_had(
    user_file: Path,
    asked: list[restore_photos._Request],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    user_file.write_text('format = "png"\nensemble = 6\npreserve-times = true\n', "utf-8")
    monkeypatch.setattr(restore_photos, "_restore_standard_input", lambda request, *_, **__: asked.append(request) or 0)
    assert run(["dehaze", "a.jpg"]) == 0
    assert (asked[-1].output["format"], asked[-1].engine["ensemble"], asked[-1].preserve_times) == ("png", 2, True)
    assert run(["derain", "a.jpg", "--out", "b.jpg"]) == 0
    assert (asked[-1].output["format"], asked[-1].engine["ensemble"]) == ("same", 6)
    assert run(["derain", "a.jpg", "--out", "b.c"]) == 0
    assert asked[-1].output["format"] == "png"
    assert run(["derain", "-", "--out", "b.jpg"]) == 0
    assert not asked[-1].preserve_times
    # What is said on the command line is meant.
    assert run(["dehaze", "a.jpg", "--ensemble", "6"]) == 2
    assert run(["derain", "a.jpg", "--format", "png"]) == 0
    monkeypatch.setenv("RESTORE_WEIGHTS", "derain")
    Path("there").mkdir()
    assert run(["eval", "--restored", "there", "--target", "there"]) == 2
    assert "there are no photos" in capsys.readouterr().err


def test_a_folder_of_settings_that_cannot_be_searched_holds_none(
    asked: list[restore_photos._Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name that no disk takes fails as a folder without permission does, for the superuser too.
    monkeypatch.setattr(defaults, "user_file", lambda: tmp_path / ("x" * 300) / "restore.toml")
    assert run(["derain", "a.jpg"]) == 0 and len(asked) == 1
    assert defaults.files() == []
