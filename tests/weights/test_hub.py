"""Weights of the hub, from a server on this machine: fetched, resumed, checked, and refused with a reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest

from restorecli.errors import WeightsError
from restorecli.weights import pull, resolve, save_network, sha256_of, verify
from restorecli.weights.catalogued import Entry
from restorecli.weights.hub import Address, fetch
from tests.small import narrow_network
from tests.weights.hub_server import COMMIT, Hub, serve


@pytest.fixture(scope="module")
def weights_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A ``.safetensors`` file for each task, without a twin."""
    folder = tmp_path_factory.mktemp("weights")
    files = {task: folder / f"{task}.safetensors" for task in ("derain", "dehaze")}
    for task, path in files.items():
        network = narrow_network(task)
        save_network(path, network, network.descriptor(task))
    return files


@pytest.fixture
def hub(weights_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with ``one/rain``, ``one/two-files``, ``one/pickle`` and ``one/gated``, and an empty cache."""
    rain, haze = (weights_files[task].read_bytes() for task in ("derain", "dehaze"))
    hub = Hub(
        {
            "one/rain": {"README.md": b"card", "generator.safetensors": rain, "sub/other.safetensors": haze},
            "one/single": {"mine.safetensors": rain},
            "one/two-files": {"a.safetensors": rain, "b.safetensors": haze},
            "one/pickle": {"model.pth": b"PK\3\4", "config.json": b"{}"},
            "one/gated": {"generator.safetensors": rain},
            "one/false": {"generator.safetensors": b"no safetensors file"},
        },
        gated={"one/gated"},
    )
    server = serve(hub)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    # Waiting between attempts is the client's business.
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    yield hub
    server.shutdown()
    server.server_close()


def failing(which: str, **options: object) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        fetch(which, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return caught.value


def blobs(tmp_path: Path) -> list[Path]:
    """All contents in the cache, whole or not."""
    return [path for path in (tmp_path / "cache").rglob("blobs/*") if path.is_file()]


def test_addresses() -> None:
    assert Address.parse("hf://a/b") == Address("a/b", None, None)
    assert Address.parse("hf://a/b@v1/c/d.onnx") == Address("a/b", "v1", "c/d.onnx")
    assert Address.parse("hf://a/b@refs%2Fpr%2F1") == Address("a/b", "refs/pr/1", None)
    for text in ("hf://a/b", "hf://a/b@refs%2Fpr%2F1/c.safetensors"):
        assert str(Address.parse(text)) == text
    assert {failing(text).kind for text in ("hf://a", "hf:///b", "hf://a/@v1")} == {"missing"}
    assert {failing(text).kind for text in ("hf://a/b/c.pth", "hf://a/b/README.md")} == {"refused"}
    outside = ("hf://a/b/../c.onnx", "hf://a/b@..%2F..%2Fc", "hf://a/b/c\\d.onnx", "hf://../b")
    assert {failing(text).kind for text in outside} == {"refused"}


def test_what_is_fetched_is_cached_pinned_and_found_offline(hub: Hub, weights_files: dict[str, Path]) -> None:
    told: list[tuple[int, int]] = []
    fetched = fetch("hf://one/rain", progress=lambda here, total: told.append((here, total)))
    size = weights_files["derain"].stat().st_size
    assert fetched.path.read_bytes() == weights_files["derain"].read_bytes()
    assert fetched.pinned == f"hf://one/rain@{COMMIT}/generator.safetensors"
    assert told[-1] == (size, size)
    assert fetch("hf://one/rain@v1/sub/other.safetensors").pinned == f"hf://one/rain@{COMMIT}/sub/other.safetensors"
    assert fetch("hf://one/single").pinned.endswith("/mine.safetensors")
    downloads = [line for line in hub.asked if "/cdn/" in line]
    assert len(downloads) == 3  # one/single has the bytes of one/rain, but repositories share nothing
    hub.asked.clear()
    for which in ("hf://one/rain", fetched.pinned, f"hf://one/rain@{COMMIT}", "hf://one/single"):
        assert fetch(which, offline=True).path.is_file()
    assert fetch(fetched.pinned).path.is_file()
    assert hub.asked == []
    assert resolve("hf://one/rain", "derain").name == "hf://one/rain"


def test_a_cut_connection_is_resumed_where_it_broke(
    hub: Hub, weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is kept of a broken connection is whole chunks, which are larger than our file.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 250)
    hub.cut_after = [1000, 500]
    assert fetch("hf://one/single").path.read_bytes() == weights_files["derain"].read_bytes()
    ranges = [line.partition("bytes=")[2] for line in hub.asked if "/cdn/" in line]
    assert ranges[0] == "" and [int(text.partition("-")[0]) for text in ranges[1:]] == [1000, 1500]


def test_a_connection_that_stays_cut_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = [0] * 20
    assert failing("hf://one/single").kind == "offline"
    assert blobs(tmp_path) == []
    hub.cut_after = []
    assert fetch("hf://one/single").path.is_file()


def test_other_bytes_than_promised_never_stay_in_the_cache(
    hub: Hub, tmp_path: Path, weights_files: dict[str, Path]
) -> None:
    rain = hub.files["one/single"]["mine.safetensors"]
    hub.instead[rain] = rain[:-1] + bytes([rain[-1] ^ 1])
    error = failing("hf://one/single")
    assert error.kind == "corrupt" and "pull it again" in str(error)
    assert blobs(tmp_path) == [] and failing("hf://one/single", offline=True).kind == "offline"
    hub.instead.clear()
    digest = sha256_of(weights_files["derain"])
    assert failing("hf://one/single", sha256="0" * 64).kind == "corrupt"
    assert blobs(tmp_path) == []
    pulled = pull("hf://one/single", sha256=digest.upper())
    assert pulled.sha256 == digest and pulled.pinned is not None
    # Damaged where it lies: found out on the next use, offline too.
    kept = pulled.path.resolve()
    kept.chmod(0o644)
    kept.write_bytes(b"x" + rain[1:])
    assert failing("hf://one/single", offline=True).kind == "corrupt"
    assert blobs(tmp_path) == []


@pytest.mark.parametrize(
    ("which", "kind", "says"),
    [
        ("hf://one/none", "missing", "not there, or private"),
        ("hf://one/rain@v9", "missing", "no revision 'v9'"),
        ("hf://one/rain@v9/generator.safetensors", "missing", "no revision 'v9'"),
        ("hf://one/rain/generatr.safetensors", "missing", "it has generator.safetensors, sub/other.safetensors"),
        ("hf://one/gated", "denied", "accept its terms"),
        ("hf://one/gated/generator.safetensors", "denied", "accept its terms"),
        ("hf://one/two-files", "missing", "hf://one/two-files/a.safetensors, hf://one/two-files/b.safetensors"),
        ("hf://one/pickle", "refused", "model.pth"),
        ("hf://one/rain--x..y", "missing", "no name of the hub"),
    ],
)
def test_what_is_not_to_be_had(which: str, kind: str, says: str, hub: Hub, tmp_path: Path) -> None:
    error = failing(which)
    assert error.kind == kind and says in str(error) and which.partition("@")[0].split("/gen")[0] in str(error)
    assert blobs(tmp_path) == []


def test_a_hub_that_is_down_or_out_of_reach(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch("hf://one/rain").path.is_file()
    hub.down = True
    hub.asked.clear()
    for which in ("hf://one/single/mine.safetensors", "hf://one/single"):
        assert failing(which).kind == "offline" and "503" in str(failing(which))
    assert len(hub.asked) == 4  # one for each: nobody waits for what does not come
    # What is here is used all the same.
    for which in ("hf://one/rain/generator.safetensors", "hf://one/rain"):
        assert fetch(which).path.is_file()
    nowhere = "http://127.0.0.1:9"
    template = nowhere + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert failing("hf://one/single").kind == "offline" and "check the network" in str(failing("hf://one/single"))
    assert fetch("hf://one/rain").path.is_file()


def test_named_weights_of_the_hub_are_pulled_once_and_then_used(
    hub: Hub, weights_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sha256_of(weights_files["derain"])
    entry = Entry(
        "big", "derain", "big.safetensors", digest, "MIT", "big.md", hub=f"hf://one/single@{COMMIT}/mine.safetensors"
    )
    monkeypatch.setattr("restorecli.weights.catalogued.catalogue", lambda: [entry])
    with pytest.raises(WeightsError, match="restore weights pull big") as caught:
        resolve("big", "derain")
    assert caught.value.kind == "missing" and hub.asked == []
    pulled = pull("big")
    assert (pulled.name, pulled.task, pulled.sha256, pulled.pinned) == ("big", "derain", digest, entry.hub)
    hub.asked.clear()
    assert resolve("big", "derain").path == pulled.path and verify("big") is entry
    assert hub.asked == []


def test_the_command_line_pulls_and_then_finds_it_offline(hub: Hub, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }

    def restore(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "restorecli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    hub.cut_after = [1000]
    pulled = restore("weights", "pull", "hf://one/single", "--json")
    (facts,) = map(json.loads, pulled.stdout.splitlines())
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert facts["pinned"] == f"hf://one/single@{COMMIT}/mine.safetensors" and facts["task"] == "derain"
    hub.asked.clear()
    shown = restore("weights", "show", facts["pinned"], "--offline")
    assert shown.returncode == 0 and facts["sha256"] in shown.stdout
    absent = restore("weights", "pull", "hf://one/rain", "--offline")
    assert absent.returncode == 3 and absent.stderr.count("\n") == 1 and "--offline" in absent.stderr
    assert hub.asked == []
    wrong = restore("weights", "pull", "hf://one/false")
    assert wrong.returncode == 3 and "safetensors" in wrong.stderr
