"""The app itself: how soon it answers, what it loads, and what wrong command lines get."""

from __future__ import annotations

import errno
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from restorecli.cli import app as app_module
from restorecli.cli.app import run

HEAVY = ("torch", "onnxruntime", "cv2", "numpy", "PIL", "onnx", "openvino", "huggingface_hub")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["derain", "--help"], ["compare", "--help"], ["weights", "--help"], ["train", "--nonsense"]],
)
def test_help_loads_no_engine(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from restorecli.cli.app import run\n"
        f"run({arguments!r})\n"
        f"print('loaded:', *set({HEAVY!r}) & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1].split() == ["loaded:"]


def test_an_interruption_while_it_is_loaded_is_no_traceback(tmp_path: Path) -> None:
    # In the place of a module that is imported early.
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    call = [sys.executable, "-m", "restorecli", "--help"]
    found = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "restore: interrupted; nothing was begun\n")


def test_help_answers_at_once() -> None:
    """By the processor's time, as the machine may be busy with something else; nothing in it waits."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "restorecli", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(once() for _ in range(5)) <= 0.4


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in (
        "dehaze",
        "derain",
        "train",
        "finetune",
        "export",
        "eval",
        "compare",
        "weights",
        "benchmark",
        "doctor",
    ):
        assert f"\n  {command} " in text
    assert "Exit codes" in text


def test_version_names_the_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].rstrip(":") for line in lines] == ["restorecli", "torch", "ONNX", "OpenVINO"]
    assert "cpu" in lines[1] and "cpu" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing command"),
        (["unrain"], "No such command"),
        (["derian"], "'derian', did you mean 'derain'? See `restore --help`"),
        (["weights", "lst"], "did you mean 'list'? See `restore weights --help`"),
        (["derain"], "Missing argument"),
        (["derain", "a.jpg", "--frmat", "png"], "No such option: --frmat, did you mean --format?"),
        (["derain", "a.jpg", "--format", "pgn"], "'pgn' is not one of 'same', 'jpg'"),
        (["derain", "a.jpg", "--format", "pgn"], "did you mean png?"),
        (["derain", "a.jpg", "--backend", "tensorflow"], "'tensorflow' is not one of"),
        (["derain", "a.jpg", "--precision", "int4"], "'int4' is not one of"),
        (["derain", "a.jpg", "--device", "tpu"], "--device must be"),
        (["derain", "a.jpg", "--quality", "0"], "--quality"),
        (["derain", "a.jpg", "--strength", "1.5"], "--strength"),
        (["derain", "a.jpg", "--tile", "big"], "--tile must be"),
        (["derain", "a.jpg", "--jobs", "0"], "--jobs must be"),
        (["derain", "a.jpg", "--max-memory", "much"], "--max-memory must be"),
        (["derain", "a.jpg", "--max-pixels", "-4"], "--max-pixels must be"),
        (["derain", "-", "a.jpg"], "give it alone"),
        (["derain", "-", "--preserve-times"], "--preserve-times"),
        (["derain", "-", "--json"], "--json"),
        (["derain", "-", "--out", "a.png", "--format", "jpg"], "disagree"),
        (["derain", "a.jpg", "--tile", "3"], "--tile must be"),
        (["derain", "a.jpg", "--tile", "3", "--dry-run"], "--tile must be"),
        (["derain", "-", "--out", "a.png", "--tile", "3"], "--tile must be"),
        (["train"], "--hazy DIR --clear DIR"),
        (["train", "--hazy", "a", "--clean", "b"], "--hazy DIR --clear DIR"),
        (["finetune", "--hazy", "a", "--clear", "b"], "Missing option '--from'"),
        (["export"], "--onnx"),
        (["eval", "--target", "a"], "--task and --input"),
        (["eval", "--target", "a", "--input", "b"], "--task and --input"),
        (["eval", "--target", "a", "--restored", "b", "--weights", "c"], "--weights"),
        (["weights", "pack"], "Missing argument"),
        (["compare", "a.jpg"], "Missing argument"),
        (["compare", "a.jpg", "b.jpg", "--out", "c.jpg"], "end in .html"),
        (["compare", "a.jpg", "b.jpg"], "a.jpg: no such file or folder"),
        (["derain", "a.jpg", "--report", "c.jpg"], "end in .html"),
        # What a shell makes of variables that are not set.
        (["derain", ""], "an argument is empty"),
        (["derain", "a.jpg", "--out", "", "--overwrite"], "an argument is empty"),
        (["derain", "a.jpg", "--out="], "--out= has no value"),
    ],
)
def test_wrong_command_lines(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("restore: ") and err.count("\n") == 1
    assert told in err


def _broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError("of the test")


def test_internal_errors_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorecli.weights.catalogue", _broken)
    assert run(["weights", "list"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("restore: internal error (ZeroDivisionError: of the test)") and err.count("\n") == 1
    assert run(["weights", "list", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["weights", "list"], ["weights", "list", "--json"], ["--help"], ["--version"]])
def test_a_full_standard_output_is_told_of(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert run(arguments) == 1
    err = capsys.readouterr().err
    assert err == "restore: standard output cannot be written (No space left on device)\n"
    # And nobody is left to be told of a standard error that is full.
    monkeypatch.setattr(sys, "stderr", Full())
    assert run(["unrain"]) == 2


def test_interrupting_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("restorecli.weights.catalogue", interrupted)
    assert run(["weights", "list"]) == 130
    assert capsys.readouterr().err.startswith("restore: interrupted")


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["restore", "train"])
    with pytest.raises(SystemExit) as stopped:
        app_module.main()
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    "command", [["weights", "list"], ["weights", "verify"], ["doctor"], ["train"], ["derain"], ["compare"]]
)
def test_offline_is_accepted_anywhere(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert "--offline" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["torch", "onnxruntime"])
def test_an_engine_that_does_not_start_is_told_of(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from restorecli.cli.machine import devices_of

    monkeypatch.delitem(sys.modules, "restorecli.onnx_runtime", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    (told,) = devices_of(package)
    assert told.startswith("does not start: ")
