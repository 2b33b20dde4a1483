"""The one sink: what goes to stdout, what to stderr, in each mode."""

from __future__ import annotations

import json
import logging
import re
import time

import pytest

from restorecli.cli.console import Console
from restorecli.errors import PhotoError


def _speak(console: Console) -> None:
    console.result("a result", {"is": "a result"})
    console.value({"only": "json"})
    console.table(("name", "value"), [("long name", "1"), ("b", "")])
    console.note("a note")
    console.error("a\nproblem")
    logging.getLogger("restorecli.somewhere").warning("a warning")
    logging.getLogger("restorecli.somewhere").debug("a detail")


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure()
    _speak(console)
    out, err = capsys.readouterr()
    assert out.splitlines() == ["a result", "name       value", "long name  1", "b"]
    assert err.splitlines() == ["a note", "restore: a problem", "restore: warning: a warning"]


def test_a_terminal_gets_a_ruled_table_unless_it_is_too_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    Console().table(("photo", "PSNR"), [("[b]a.png", "9.25"), ("mean of 1", "12.50")])
    head, rule, *rows = (line.strip() for line in capsys.readouterr().out.splitlines() if line.strip())
    assert (head.split(), set(rule)) == (["photo", "PSNR"], {"─"})
    assert [row.split() for row in rows] == [["[b]a.png", "9.25"], ["mean", "of", "1", "12.50"]]
    Console().table(("photo", "checksum"), [("a.png", "0" * 64)])
    assert capsys.readouterr().out.splitlines()[1] == "a.png  " + "0" * 64


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure(json=True)
    _speak(console)
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"is": "a result"}, {"only": "json"}]
    assert "restore: a problem" in err


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure(quiet=True)
    _speak(console)
    assert capsys.readouterr() == ("", "restore: a problem\n")


def test_verbose_adds_logs_and_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure(verbose=True)
    _speak(console)
    console.error(PhotoError("broken", kind="truncated"))
    err = capsys.readouterr().err
    assert "restore: debug: a detail" in err
    assert "PhotoError: broken" in err and err.endswith("restore: broken\n")


def test_a_failure_is_told_to_both(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure(json=True)
    console.failure({"input": "a.jpg"}, PhotoError("a.jpg: broken", kind="truncated"))
    out, err = capsys.readouterr()
    assert json.loads(out) == {"input": "a.jpg", "error": {"kind": "truncated", "message": "a.jpg: broken"}}
    assert err == "restore: a.jpg: broken\n"


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure()
    with console.progress(3, "photos") as bar:
        bar.update(1.5, "a.jpg")
    assert capsys.readouterr() == ("", "")


def test_the_bar_says_what_and_how_long(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    console = Console()
    console.configure()
    with console.progress(3, "photos") as bar:
        time.sleep(0.01)
        bar.update(2, "a.jpg", pixels=12_000_000)
        console.result("a result", {})
    out, err = capsys.readouterr()
    assert "a result" in out
    assert "a.jpg" in err and "2/3" in err and "left" in err and "MP/s" in err


@pytest.mark.parametrize(("columns", "lines"), [(80, 2), (120, 1)])
def test_figures_below_the_bar_are_whole_at_any_width(
    columns: int, lines: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    figures = [f"{name} 0.01234" for name in ("d", "negatives", "gan", "cycle", "identity", "contrast", "floor")]
    with Console().progress(40000, "steps") as bar:
        for step in (41000, 41001):
            time.sleep(0.01)
            bar.step(step, 60000)
        bar.figures("12.3 photos/s", figures)
    shown = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]+", capsys.readouterr().err)]
    bars = [index for index, line in enumerate(shown) if "12.3 photos/s" in line]
    said, below = shown[bars[-1]], shown[bars[-1] + 1 : bars[-1] + 1 + lines]
    assert "41001/60000 steps" in said and re.search(r"left \d+:\d\d:\d\d", said)
    assert re.split("  +", "  ".join(below)) == figures
    assert all(len(line) <= columns for line in shown)


@pytest.mark.parametrize(("variable", "coloured"), [("IRRELEVANT", True), ("NO_COLOR", False)])
def test_no_color(
    variable: str, coloured: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(variable, "1")
    console = Console()
    console.configure()
    with console.progress(3, "photos") as bar:
        bar.update(2, "a.jpg")
    assert ("\x1b[3" in capsys.readouterr().err) is coloured


def test_lines_above_the_bar_stay_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    console = Console()
    console.configure()
    line = "a rather long folder/" * 8 + "photo.jpg"
    with console.progress(3, "photos"):
        console.error(line)
    assert f"restore: {line}" in capsys.readouterr().err
