"""Weights of the Hugging Face Hub: ``hf://OWNER/REPO[@REV][/FILE]``.

The hub's own client fetches, retries where a connection is cut, and keeps the cache. What is added here: which file is
meant when none is named, no pickles, and a checksum that is compared on every use, so that what was damaged on its way
or lies damaged in the cache is never used, and is taken out of the cache.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from restorecli.errors import WeightsError
from restorecli.weights.files import PICKLES, sha256_of, short
from restorecli.weights.guards import stays_inside

HF_DEFAULT_FILE = "generator.safetensors"
"""What ``hf://OWNER/REPO`` means when it names no file: what a training run writes."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Address:
    """The parts of ``hf://OWNER/REPO[@REV][/FILE]``."""

    repo: str
    """``OWNER/REPO``."""
    revision: str | None
    """A branch, a tag or a commit; None: the main branch as it is now."""
    file: str | None
    """The path inside the repository; None: the weights file there, if there is only one."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address; :class:`WeightsError` when it is none, or names a pickle."""
        owner, _, rest = text.removeprefix("hf://").partition("/")
        repo, _, file = rest.partition("/")
        repo, _, revision = repo.partition("@")
        if not owner or not repo:
            raise WeightsError(f"{text} is not of the form hf://OWNER/REPO[@REV][/FILE]", kind="missing")
        if file and PurePosixPath(file).suffix.lower() not in (".safetensors", ".onnx"):
            what = (
                "is a pickle and is refused" if PurePosixPath(file).suffix.lower() in PICKLES else "is no weights file"
            )
            raise WeightsError(f"{text} {what}: choose a .safetensors or .onnx file", kind="refused")
        # A branch with a slash in its name is written with %2F, as the hub's own addresses have it.
        revision = unquote(revision)
        # They become paths in the cache.
        parts = re.split(r"[/\\]", f"{owner}/{repo}/{revision}/{file}")
        if {"..", "."}.intersection(parts) or "\\" in revision + file or (file and not stays_inside(file)):
            raise WeightsError(f"{text} leads outside its repository: check the name", kind="refused")
        return cls(f"{owner}/{repo}", revision or None, file or None)

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision.replace('/', '%2F')}"
        return f"hf://{self.repo}{revision}" + ("" if self.file is None else f"/{self.file}")


@dataclass(frozen=True)
class Fetched:
    """A file of the hub that lies on this machine and is what the hub says it is."""

    path: Path
    pinned: str
    """The address with its commit and its file: the same bytes for ever."""


def fetch(
    which: str, *, sha256: str | None = None, offline: bool | None = None, progress: Progress | None = None
) -> Fetched:
    """Bring ``hf://OWNER/REPO[@REV][/FILE]`` into the hub's cache, if it is not there, and check it.

    The checksum compared with is ``sha256`` where it is given, else the one under which the hub keeps the file.
    ``offline`` True uses only what is in the cache (None: as ``HF_HUB_OFFLINE`` says). ``progress`` is told the bytes
    that are here and the bytes in all.

    Raises :class:`WeightsError` of kind ``missing``, ``refused`` (pickles), ``denied`` (gated or private), ``offline``,
    ``unwritable`` (the cache), or ``corrupt`` for the wrong checksum, in which case the file is no longer in the cache.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    address = Address.parse(which)
    offline = _told_offline() if offline is None else offline
    with _plain_errors(address, offline), _silence():
        etag, unreachable = (None, None) if offline or _is_final(address) else _asked(address)
        here_only = offline or unreachable is not None
        try:
            if address.file is None:
                address = replace(address, file=_only_weights(address, here_only))
            pointer = Path(
                hf_hub_download(
                    address.repo,
                    str(address.file),
                    revision=address.revision,
                    local_files_only=here_only,
                    tqdm_class=_bar(progress),
                )
            )
        except LocalEntryNotFoundError:
            if unreachable is None:
                raise
            raise unreachable from unreachable.__cause__
        expected = sha256 or _kept_under(pointer) or etag
    if expected is not None and not _is(pointer, expected.lower()):
        _forget(pointer)
        raise WeightsError(
            f"{address} is damaged or not what was asked for (its checksum is not {expected}) and was taken out of the "
            "cache: pull it again; if this stays, do not trust the source",
            kind="corrupt",
        )
    return Fetched(pointer, str(replace(address, revision=_commit_of(pointer))))


def _told_offline() -> bool:
    # The hub's client reads this once, when it is imported; a program that imported it earlier would go unheard.
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _asked(address: Address) -> tuple[str | None, Exception | None]:
    """Ask the hub for a file, or for what may be meant without one: its checksum, or why the hub cannot be reached.

    Once, and before all else: the client itself tries for half a minute before it says that there is no network.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    try:
        url = hf_hub_url(address.repo, address.file or HF_DEFAULT_FILE, revision=address.revision)
        etag = get_hf_file_metadata(url).etag
        return (None if address.file is None else _checksum(etag)), None
    except RemoteEntryNotFoundError:
        if address.file is not None:
            raise
        return None, None
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return None, error
    except Exception as error:
        if not (isinstance(error, ConnectionError) or _of_http_library(error)):
            raise
        return None, error


def _is_final(address: Address) -> bool:
    """Whether the address names a commit's file that is in the cache: nobody need be asked for what cannot change."""
    from huggingface_hub import try_to_load_from_cache

    if address.file is None or not re.fullmatch(r"[0-9a-f]{40}", address.revision or ""):
        return False
    return isinstance(try_to_load_from_cache(address.repo, address.file, revision=address.revision), str)


def _of_http_library(error: Exception) -> bool:
    # These are no part of the client's interface, and have changed with it.
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests")


def _only_weights(address: Address, here_only: bool) -> str:
    """The file that an address without one means."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    files = _files_here(address) if here_only else _files_there(address)
    found = sorted(file for file in files if file.endswith(".safetensors"))
    if HF_DEFAULT_FILE in found:
        return HF_DEFAULT_FILE
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(
            f"{address} holds several weights files: name one of them, {_some(f'{address}/{file}' for file in found)}",
            kind="missing",
        )
    if here_only:
        raise LocalEntryNotFoundError(f"{address} is not in the cache")
    if pickles := sorted(file for file in files if PurePosixPath(file).suffix.lower() in PICKLES):
        raise WeightsError(
            f"{address} holds pickles only ({_some(pickles)}), which can run any code when opened, and is refused: ask "
            "its owner for a .safetensors file",
            kind="refused",
        )
    onnx = sorted(file for file in files if file.endswith(".onnx"))
    hint = f": name the ONNX file, {_some(f'{address}/{file}' for file in onnx)}" if onnx else ""
    raise WeightsError(f"{address} holds no .safetensors file{hint}", kind="missing")


def _files_there(address: Address) -> list[str]:
    from huggingface_hub import HfApi

    files: list[str] = HfApi().list_repo_files(address.repo, revision=address.revision)
    return files


def _files_here(address: Address) -> list[str]:
    """The files of the revision that lie in the cache; none when it is not there at all."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=address.repo, repo_type="model")
    revision = address.revision or constants.DEFAULT_REVISION
    with contextlib.suppress(OSError):
        revision = (folder / "refs" / revision).read_text("ascii").strip()
    snapshot = folder / "snapshots" / revision
    return [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]


def _kept_under(pointer: Path) -> str | None:
    """SHA-256 of a large file, git's SHA-1 of a small one; None where the cache does not say."""
    # Where links can be made, the cache keeps each file under its checksum and links to it.
    return _checksum(Path(os.readlink(pointer)).name) if pointer.is_symlink() else None


def _checksum(text: str | None) -> str | None:
    return text if text is not None and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) else None


def _is(path: Path, checksum: str) -> bool:
    if len(checksum) == 64:
        return sha256_of(path) == checksum
    # How git names a file that is not in its large file storage.
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest() == checksum


def _forget(pointer: Path) -> None:
    """Take a file out of the cache: the link and what it leads to."""
    kept = {pointer.resolve()}
    if pointer.is_symlink():
        kept.add(pointer.parent / os.readlink(pointer))
    for path in (pointer, *kept):
        path.unlink(missing_ok=True)


def _commit_of(pointer: Path) -> str:
    """The commit in the path ``.../snapshots/COMMIT/FILE`` (its last such folder)."""
    parts = pointer.parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


@contextlib.contextmanager
def _plain_errors(address: Address, offline: bool) -> Iterator[None]:
    """Turns what the hub's client raises into a :class:`WeightsError` that says what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo = f"hf://{address.repo}"
    try:
        yield
    except WeightsError:
        raise
    except LocalEntryNotFoundError as error:
        raise _not_here(address) if offline else _no_network(address, error) from error
    except GatedRepoError as error:
        raise WeightsError(
            f"{repo} is gated: accept its terms on the hub, then log in with `hf auth login` or set HF_TOKEN",
            kind="denied",
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"{repo} is not there, or private: check the name, or log in with `hf auth login` or set HF_TOKEN",
            kind="missing",
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(
            f"{repo} has no revision {address.revision!r}: check it on the hub", kind="missing"
        ) from error
    except EntryNotFoundError as error:
        raise WeightsError(f"{repo} has no file {address.file!r}{_others(address)}", kind="missing") from error
    except HFValidationError as error:
        raise WeightsError(f"{address} is no name of the hub ({short(error)})", kind="missing") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise WeightsError(
                f"{repo} is not open to you ({status}): log in with `hf auth login`, or check HF_TOKEN", kind="denied"
            ) from error
        raise WeightsError(f"{address} cannot be downloaded now: the hub answers {status}", kind="offline") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise WeightsError(
                f"{address} cannot be kept in the cache ({error.strerror}): make room there, or set HF_HOME to "
                "another folder",
                kind="unwritable",
            ) from error
        raise _no_network(address, error) from error
    except Exception as error:
        if not _of_http_library(error):
            raise
        raise _no_network(address, error) from error


def _not_here(address: Address) -> WeightsError:
    return WeightsError(
        f"{address} is not on this machine, and the network is not to be used: leave --offline (or HF_HUB_OFFLINE) "
        "out once",
        kind="offline",
    )


def _no_network(address: Address, error: BaseException) -> WeightsError:
    cause = error.__cause__ or error
    return WeightsError(
        f"{address} is not on this machine and cannot be downloaded now ({short(cause)}): check the network, or give "
        "--weights FILE",
        kind="offline",
    )


def _others(address: Address) -> str:
    """What there is instead, for an error message; nothing when that cannot be found out either."""
    try:
        found = [file for file in _files_there(address) if file.endswith((".safetensors", ".onnx"))]
    except Exception:  # the message that this is for is more important than why
        return ": check it on the hub"
    return f": it has {_some(sorted(found))}" if found else ": it has no weights file at all"


def _some(names: Any) -> str:
    """At most eight names."""
    listed = list(names)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the client's own log lines: what matters of them comes as an error, or is in the log of --verbose."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    if not logging.getLogger("restorecli").isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _bar(progress: Progress | None) -> type:
    """What the client moves forward, a class like ``tqdm``: tells ``progress``, and shows nothing itself."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *values: Any, initial: float = 0, total: float | None = None, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*values, **options | {"disable": True}, initial=initial, total=total)
            self._here, self._total = initial, total
            self.update(0)

        def update(self, n: float | None = 1) -> None:
            self._here += n or 0
            if progress is not None and self._total:
                progress(int(self._here), int(self._total))

    return Bar
