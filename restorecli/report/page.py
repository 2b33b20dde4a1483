"""The page: one HTML file that holds all it needs and asks no network for anything, written photo by photo."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from types import TracebackType
from typing import IO

from restorecli.errors import PhotoError, UsageError
from restorecli.photo.atomic import final_name, remove_remains, reopened
from restorecli.photo.names import shown
from restorecli.report.previews import Picture, Previews

SUFFIXES = frozenset({".html", ".htm"})
_MARK = b'<!doctype html>\n<html lang="en" data-page="restore-report">\n'
"""How every page of ours begins, and no other file."""
_TIMES = "\u00d7"
_SCORE_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "psnr_y": "PSNR-Y", "ssim_y": "SSIM-Y"}


@dataclass(frozen=True)
class Scores:
    """PSNR (dB) and SSIM against a target; the keys are ``psnr``, ``ssim``, ``psnr_y`` and ``ssim_y``."""

    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """What the page tells of one photo. All texts are plain, whatever is in them."""

    name: str
    status: str
    """One word: ``restored``, ``compared``, ``skipped``, ``failed``, ``unmatched``."""
    reason: str | None = None
    """Why it was skipped, or failed."""
    facts: Sequence[tuple[str, str]] = ()
    """Label and value of whatever else is known."""
    scores: Scores | None = None
    previews: Previews | None = None


def check_path(path: Path) -> None:
    """:class:`UsageError` when no page may be written to ``path``: no HTML name, a folder, or a file not of ours."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{shown(path)} is no name for a page: let it end in .html")
    if os.path.isdir(path):
        raise UsageError(f"{shown(path)} is a folder: name a file in it")
    try:
        with open(path, "rb") as file:
            ours = file.read(len(_MARK)) == _MARK
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be looked into ({error.strerror}); name another file") from error
    if not ours:
        raise UsageError(f"{shown(path)} is there and is no page of restore: name another file, or take it away")


@dataclass
class Page:
    """The page while it is being written; as a context manager it is under its name at the end of the block.

    An earlier page of ours is replaced, no other file is. When the block ends in an error the page is written all the
    same, with what was added and the note that it is not complete.

    ``photos`` is how many will be added, as far as is known. Pictures are never held: each is written as it comes.
    A page that cannot be begun is a :class:`UsageError`, as nothing has been done then; failures to write are raised at
    the end of the block and not before, as a :class:`PhotoError`.
    """

    path: Path
    heading: str
    facts: Sequence[tuple[str, str]] = ()
    """What holds for all photos: label and value."""
    photos: int = 0
    option: str = "--out"
    """The option that named ``path``, for messages."""
    _counts: Counter[str] = field(default_factory=Counter, init=False)
    _scores: list[Scores] = field(default_factory=list, init=False)
    _failure: OSError | None = field(default=None, init=False)
    _stack: contextlib.ExitStack = field(init=False)
    _file: IO[bytes] = field(init=False)

    def __enter__(self) -> Page:
        check_path(self.path)
        try:
            with contextlib.ExitStack() as stack:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                remove_remains(self.path.parent)
                temp = stack.enter_context(final_name(self.path, overwrite=os.path.exists(self.path)))
                self._file = stack.enter_context(open(reopened(temp, os.O_WRONLY), "wb"))
                self._stack = stack.pop_all()
        except (OSError, PhotoError) as error:
            raise UsageError(str(self._told(error)), kind="unwritable") from error
        self._write(_MARK, _text("head.html", title=escape(self._title), **_style_and_policy()))
        return self

    def add(self, entry: Entry) -> None:
        """Write one photo; photos stand in the order in which they are added."""
        self._counts[entry.status] += 1
        if entry.scores is not None:
            self._scores.append(entry.scores)
        self._write(*_entry(entry, self._counts.total()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(_text("tail.html", summary=self._summary(complete=error is None), script=_asset("page.js")))
        # What the block raised is not the file's: with that the page would be thrown away.
        failed = self._failure
        try:
            self._stack.__exit__(*((type(failed), failed, None) if failed else (None, None, None)))
        except (OSError, PhotoError) as problem:
            # Why the block ended is what the user should read.
            if error is None:
                raise self._told(problem) from problem

    def _told(self, problem: OSError | PhotoError) -> PhotoError:
        if isinstance(problem, PhotoError):
            return PhotoError(str(problem).replace("--out", self.option), kind=problem.kind)
        reason = problem.strerror or problem
        return PhotoError(
            f"{shown(self.path)}: cannot be written: {reason}; choose another file with {self.option}",
            kind="unwritable",
        )

    @property
    def _title(self) -> str:
        return f"{self.heading}: {_counted(self.photos, 'photo')}"

    def _summary(self, *, complete: bool) -> str:
        counts = "".join(
            f'<li data-status="{escape(status)}">{count:,} {escape(status)}</li>'
            for status, count in self._counts.items()
        )
        note = ""
        if not complete:
            note = f"It ended early: {self._counts.total():,} of {_counted(self.photos, 'photo')} are here."
            note = f'<p class="warning">{note}</p>'
        means = ""
        if self._scores:
            mean, of = _mean(self._scores), _counted(len(self._scores), "photo")
            rows = [
                (name, f"{_digits(key, mean.before[key])} \u2192 {_digits(key, mean.after[key])}")
                for key, name in _SCORE_NAMES.items()
            ]
            means = f'<section class="means" aria-label="Means"><p>Mean of {of}</p>{_facts(rows)}</section>'
        return (
            f'<div class="title"><h1>{escape(self.heading)}</h1>'
            f'<ul class="counts" aria-label="How many photos">{counts}</ul>{note}</div>{_facts(self.facts)}{means}'
        )

    def _write(self, *parts: str | bytes) -> None:
        if self._failure is not None:
            return
        try:
            for part in parts:
                self._file.write(part if isinstance(part, bytes) else part.encode())
        except OSError as error:
            # The photos matter more than the page about them: whoever adds goes on.
            self._failure = error


def _entry(entry: Entry, number: int) -> list[str | bytes]:
    previews, data = entry.previews, ""
    picture = '<span class="none" aria-hidden="true"></span>'
    parts: list[tuple[str, Picture]] = []
    if previews is not None:
        width, height = previews.thumbnail_size
        source = f"data:{previews.thumbnail.type};base64,{base64.b64encode(previews.thumbnail.data).decode()}"
        picture = f'<img alt="" width="{width}" height="{height}" decoding="async" src="{source}">'
        data = f' data-size="{_spaced(previews.photo_size)}" data-preview="{_spaced(previews.size)}"'
        parts = [("before", previews.before), ("after", previews.after)]
        if previews.detail is not None:
            data += f' data-detail="{_spaced(previews.detail.box)}"'
            parts += [("detail-before", previews.detail.before), ("detail-after", previews.detail.after)]
    if entry.scores is not None:
        data += f' data-score="{finite(entry.scores.after["psnr"]):.6f}"'
    status, name = escape(entry.status), escape(entry.name)
    badge = f'<span class="badge">{status}</span>' if entry.status in ("skipped", "failed", "unmatched") else ""
    last = escape(entry.name.rsplit("/", 1)[-1])
    written: list[str | bytes] = [
        f'<li class="tile" data-status="{status}"{data}><a href="#photo={number}" title="{name}">{picture}'
        f'<span class="name"><bdi>{last}</bdi></span>{badge}</a><template>{_about(entry)}</template>'
    ]
    for role, each in parts:
        written.append(f'<script type="text/plain" data-part="{role}" data-type="{each.type}">')
        written += [base64.b64encode(each.data), "</script>"]
    return [*written, "</li>\n"]


def _about(entry: Entry) -> str:
    text = f"<h2><bdi>{escape(entry.name)}</bdi></h2>"
    if entry.reason is not None:
        text += f'<p class="reason"><strong>{escape(entry.status.capitalize())}:</strong> {escape(entry.reason)}</p>'
    facts = list(entry.facts)
    previews = entry.previews
    if previews is not None:
        width, height = previews.photo_size
        facts.insert(0, ("Size", f"{width} {_TIMES} {height}, {width * height / 1e6:.1f} MP"))
    text += _facts(facts)
    if entry.scores is not None:
        text += _score_table(entry.scores, "Against the target")
    if previews is not None and previews.reduced:
        width, height = previews.size
        part = 100 * width / previews.photo_size[0]
        text += f'<p class="note">Shown reduced to {width} {_TIMES} {height} pixels ({part:.0f} %).'
        if previews.detail is not None:
            text += " The framed detail is at the photo's own resolution: see it at 100 %."
        text += "</p>"
    return text


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    if not facts:
        return ""
    rows = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in facts)
    return f"<dl>{rows}</dl>"


def _score_table(scores: Scores, caption: str) -> str:
    rows = ""
    for key, name in _SCORE_NAMES.items():
        before, after = (finite(values[key]) for values in (scores.before, scores.after))
        rows += (
            f'<tr><th scope="row">{name}</th><td>{_digits(key, before)}</td><td>{_digits(key, after)}</td>'
            f"<td>{'+' * (after >= before)}{_digits(key, after - before)}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Before", "After", "Gain"))
    return f"<table><caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _mean(scores: Sequence[Scores]) -> Scores:
    before, after = (
        {key: sum(finite(values[key]) for values in column) / len(column) for key in _SCORE_NAMES}
        for column in ([each.before for each in scores], [each.after for each in scores])
    )
    return Scores(before, after)


def _digits(score: str, value: float) -> str:
    return f"{value:.{4 if score.startswith('ssim') else 2}f}"


def finite(value: float) -> float:
    """The PSNR of two equal photos counts as 100 dB, so that means stay finite."""
    return value if math.isfinite(value) else 100.0


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(str(number) for number in numbers)


def _asset(name: str) -> str:
    return files(__package__).joinpath("template", name).read_text("utf-8").strip()


def _text(name: str, **values: str) -> str:
    return Template(_asset(name)).substitute(values) + "\n"


def _style_and_policy() -> dict[str, str]:
    """The style, and the policy that allows it, our script and the pictures inside the page, and nothing else."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    style = _asset("page.css")
    policy = (
        f"default-src 'none'; img-src data:; style-src {allowed(style)}; script-src {allowed(_asset('page.js'))}; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": style, "policy": policy}
