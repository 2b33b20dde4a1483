"""``restore compare``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorecli import __version__
from restorecli.cli import quantities
from restorecli.cli.options import Json, Offline, Quiet, Verbose, console_of
from restorecli.errors import PhotoError, RestoreError, UsageError, failure_of
from restorecli.hardware import usable_cores

if TYPE_CHECKING:
    from restorecli.photo import Photo
    from restorecli.report import Entry
    from restorecli.report.names import Names

_MOST_WORKERS = 4
_ROLES = ("before", "after", "target")


def compare(
    context: typer.Context,
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A photo, or a folder of photos.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The same restored: a photo, or a folder.")],
    target: Annotated[
        Path | None,
        typer.Option(
            "--target",
            metavar="FILE|DIR",
            help="How the photos should look: PSNR and SSIM are told, before and after.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE.html", help="Where the page goes. An earlier one is replaced, no other file is."
        ),
    ] = Path("compare.html"),
    max_pixels: Annotated[
        str, typer.Option("--max-pixels", metavar="N", help="Larger photos are refused before they are read.")
    ] = "400MP",
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show photos before and after on one self-contained page, with a slider for each.

    Photos of two folders are paired by name: the suffix, and _dehazed or _derained at the end, do not count. The same
    place in both trees goes first, then the only photo of that name, then the name up to the first underscore. Results
    beside their photos are passed over, unless BEFORE and AFTER are one folder.
    """
    console = console_of(context, quiet=quiet, json=json, verbose=verbose)
    limit = quantities.pixels(max_pixels)
    from restorecli.photo.names import shown
    from restorecli.report import Page, check_path, share_of
    from restorecli.report.behind import Behind
    from restorecli.report.names import Names

    check_path(out)
    comparisons = _comparisons(before, after, target)
    count = len(comparisons)
    names = {role: Names([each.paths[role] for each in comparisons if role in each.paths]) for role in _ROLES}
    facts = [("Before", shown(before)), ("After", shown(after))]
    facts += [("Target", shown(target))] if target is not None else []
    page = Page(out, "restore compare", [*facts, ("Made by", f"restore {__version__}")], count)
    workers = min(_MOST_WORKERS, usable_cores())
    failed = done = 0
    with console.progress(count, "photos") as bar:

        def told(entry: Entry) -> None:
            nonlocal failed, done
            comparison = comparisons[done]
            done += 1
            bar.update(done, entry.name)
            values = {role: str(comparison.paths[role]) if role in comparison.paths else None for role in _ROLES}
            found = values | {"status": entry.status, "error": None, "scores": _numbers(entry)}
            if comparison.error is not None:
                failed += 1
                console.failure(found, comparison.error)
            else:
                console.result(_line(entry), found)

        with page, Behind(page, workers=workers, waiting=2 * workers, told=told) as behind:
            share = share_of(count)
            for comparison in comparisons:
                behind.add(lambda each=comparison: each.entry(names, share, limit))  # type: ignore[misc]
    console.note(f"{count - failed} compared{f', {failed} failed' * bool(failed)}: {shown(out)}")
    return 1 if failed else 0


@dataclass
class _Comparison:
    """Two photos of one scene, or one that has no other."""

    before: Path | None
    after: Path | None
    target: Path | None = None
    error: RestoreError | None = None
    """What is wrong with it; known from the start, or once :meth:`entry` has looked into the files."""

    @property
    def paths(self) -> dict[str, Path]:
        """Those that there are, by their role."""
        found = (self.before, self.after, self.target)
        return {role: path for role, path in zip(_ROLES, found, strict=True) if path is not None}

    def entry(self, names: dict[str, Names], share: int, max_pixels: int) -> Entry:
        """What the page shows of it."""
        from restorecli.report import Entry, capture
        from restorecli.report.scores import scores_of

        called = {role: names[role].of(path) for role, path in self.paths.items()}
        name = next(iter(called.values()))
        facts = [(role.capitalize(), text) for role, text in called.items() if text != name]
        previews = scores = None
        if self.before is None or self.after is None:
            return Entry(name, "unmatched", str(self.error), facts)
        try:
            before, after = self._read(self.before, max_pixels), self._read(self.after, max_pixels)
            _check_sizes(self.before, before, self.after, after)
            previews = capture(before, after, share).encode()
            if self.target is not None:
                scores = scores_of(before, after, self._read(self.target, max_pixels))
        except PhotoError as error:
            self.error = error if previews is None else PhotoError(f"{name}: {error}", kind=error.kind)
        except Exception as error:
            self.error = failure_of(error, name, "compared")
        reason = None if self.error is None else str(self.error)
        return Entry(name, "compared" if previews else "failed", reason, facts, scores, previews)

    def _read(self, path: Path, max_pixels: int) -> Photo:
        from restorecli.photo import read_photo

        return read_photo(path, max_pixels=max_pixels)


def _comparisons(before: Path, after: Path, target: Path | None) -> list[_Comparison]:
    """All that is to be shown, in order of the names; photos that have no other among them."""
    from restorecli.photo.names import shown
    from restorecli.report.matching import match_folders

    for path in filter(None, (before, after, target)):
        if not os.path.exists(path):
            raise UsageError(f"{shown(path)}: no such file or folder; check the path", kind="missing")
    kinds = {os.path.isdir(path) for path in (before, after, target) if path is not None}
    if len(kinds) > 1:
        raise UsageError(
            "give photos only, or folders only: " + ", ".join(shown(p) for p in (before, after, target) if p)
        )
    if kinds == {False}:
        return [_Comparison(before, after, target)]
    matches = match_folders(before, after)
    if not matches.pairs and not matches.unsure:
        raise UsageError(f"no photo in {shown(before)} has one of its name in {shown(after)}: name two that match")
    found = [_Comparison(first, second) for first, second in matches.pairs]
    if target is not None:
        _add_targets(found, before, target)
    found += [_Comparison(path, None, None, _alone(path, after, "photo")) for path in matches.alone]
    found += [_Comparison(path, None, None, _several(path, fitting, after)) for path, fitting in matches.unsure]
    found += [_Comparison(None, path, None, _alone(path, before, "photo")) for path in matches.unused]
    return sorted(found, key=lambda each: str(each.before or each.after))


def _add_targets(comparisons: list[_Comparison], before: Path, target: Path) -> None:
    """Give each its target, or the error that there is none."""
    from restorecli.pairs import meant, pair, photos_in
    from restorecli.photo.names import shown

    photos = [each.before for each in comparisons if each.before is not None]
    pairing = pair(photos, before, meant(photos_in(target)), target)
    if not pairing.pairs and not pairing.unsure:
        raise UsageError(f"no photo in {shown(before)} has one of its name in {shown(target)}: name two that match")
    targets, unsure = dict(pairing.pairs), dict(pairing.unsure)
    for each in comparisons:
        assert each.before is not None
        each.target = targets.get(each.before)
        if each.before in unsure:
            each.error = _several(each.before, unsure[each.before], target)
        elif each.target is None:
            each.error = _alone(each.before, target, "target")


def _alone(path: Path | None, folder: Path, what: str) -> PhotoError:
    from restorecli.photo.names import shown

    return PhotoError(
        f"{shown(path or '')}: has no {what} of its name in {shown(folder)}; add one, or take it out", kind="unmatched"
    )


def _several(path: Path, fitting: list[Path], folder: Path) -> PhotoError:
    from restorecli.photo.names import shown

    names = ", ".join(shown(each.relative_to(folder)) for each in fitting[:4])
    return PhotoError(
        f"{shown(path)}: has several of its name in {shown(folder)} ({names}); keep one of them", kind="ambiguous"
    )


def _check_sizes(before_path: Path, before: Photo, after_path: Path, after: Photo) -> None:
    from restorecli.photo.names import shown

    sizes = [f"{photo.pixels.shape[1]}x{photo.pixels.shape[0]}" for photo in (before, after)]
    if sizes[0] != sizes[1]:
        raise PhotoError(
            f"{shown(after_path)}: is {sizes[1]}, but {shown(before_path)} is {sizes[0]}; compare photos of one size",
            kind="size",
        )


def _numbers(entry: Entry) -> dict[str, dict[str, float]] | None:
    if entry.scores is None:
        return None
    from restorecli.report.page import finite

    return {
        name: {key: round(finite(value), 6) for key, value in values.items()}
        for name, values in (("before", entry.scores.before), ("after", entry.scores.after))
    }


def _line(entry: Entry) -> str:
    numbers = _numbers(entry)
    if numbers is None:
        return entry.name
    before, after = numbers["before"], numbers["after"]
    shown = (
        f"{key} {before[key]:.{4 if 'ssim' in key else 2}f} -> {after[key]:.{4 if 'ssim' in key else 2}f}"
        for key in after
    )
    return f"{entry.name}  {'  '.join(shown)}"
