"""Which photo before belongs to which after, when one of the two folders lies in the other, or both are one."""

from __future__ import annotations

from pathlib import Path

from restorecli.pairs import Pairing, meant, pair, photos_in, plain


def match_folders(before: Path, after: Path) -> Pairing:
    """Pair the photos of two folders by the rules of :func:`restorecli.pairs.pair`.

    In one folder those that are named as restored are the ones after. In two, what was restored into the folder that
    its source lies in is passed over.

    :class:`~restorecli.errors.UsageError` when one of the two is no folder.
    """
    befores, afters = photos_in(before), photos_in(after)
    if before.resolve() == after.resolve():
        afters = [path for path in afters if plain(path.stem) != path.stem]
        befores = [path for path in befores if path not in set(afters)]
    else:
        befores = meant([path for path in befores if not _inside(path, after, of=before)])
        afters = meant([path for path in afters if not _inside(path, before, of=after)])
    return pair(befores, before, afters, after)


def _inside(path: Path, folder: Path, *, of: Path) -> bool:
    """Whether ``path`` lies in ``folder``, which itself lies somewhere in ``of``."""
    inner = folder.resolve()
    return inner.is_relative_to(of.resolve()) and path.resolve().is_relative_to(inner)
