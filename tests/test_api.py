"""The public Python API: what it is, how it is typed, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import restorecli
from restorecli import Photo, PhotoError, Restorer
from restorecli.errors import UsageError
from tests.small import noise

ROOT = Path(__file__).parents[1]


def test_the_surface_is_what_is_promised() -> None:
    names = ["Photo", "PhotoError", "RestoreError", "Restorer", "__version__", "read_photo", "write_photo"]
    assert sorted(dir(restorecli)) == sorted(restorecli.__all__) == names
    public = {name for name in dir(Restorer) if not name.startswith("_")}
    assert public == {"restore", "restore_many", "restore_photo"}
    for name in names:
        assert getattr(restorecli, name).__class__ is not None
    with pytest.raises(AttributeError, match="tune"):
        _ = restorecli.tune


def test_a_consumer_type_checks() -> None:
    """tests/consumer.py says what type each call has, and which calls are wrong."""
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "tests/consumer.py"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert found.returncode == 0, found.stdout


def test_the_wheel_holds_all_that_belongs_to_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(about).decode("utf-8")
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "restorecli").rglob("*.py")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    place = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]["weights"]
    weights = {f"{place}/{path.name}" for path in (ROOT / "weights").iterdir()}
    assert modules | weights | {"restorecli/py.typed", "restorecli/training/presets/ship-dehaze.toml"} <= names
    assert {name.partition("/")[0] for name in names} == {"restorecli", about.partition("/")[0]}
    assert "License-Expression: Apache-2.0" in text and about.replace("METADATA", "licenses/LICENSE") in names


def test_importing_it_loads_no_engine() -> None:
    code = "import restorecli, sys; print(*{'torch', 'onnxruntime', 'cv2', 'numpy', 'PIL'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_onnx_runs_without_torch(weights_files: dict[str, object]) -> None:
    code = (
        "import sys, numpy; from restorecli import Restorer\n"
        f"r = Restorer('derain', weights={str(weights_files['derain'])!r}, backend='onnx', device='cpu')\n"
        "r.restore(numpy.zeros((9, 9, 3), numpy.uint8)); print(r.backend.name, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["onnx", "False"]


def test_paths_are_text_or_path(weights_files: dict[str, Path], tmp_path: Path) -> None:
    restorer = restorecli.Restorer("derain", weights=weights_files["derain"], device="cpu")
    target = str(tmp_path / "a.png")
    restorecli.write_photo(Photo(noise(20, 30)), target)
    assert restorer.restore(restorecli.read_photo(target)).pixels.shape == (20, 30, 3)


@pytest.fixture(scope="module")
def restorer(weights_files: dict[str, Path]) -> Restorer:
    return Restorer("derain", weights=weights_files["derain"], backend="onnx", device="cpu")


def test_many_photos_of_each_kind(restorer: Restorer, tmp_path: Path) -> None:
    arrays = [noise(20, 30, seed=seed) for seed in range(3)]
    told: list[tuple[int, int | None]] = []
    from_arrays = list(restorer.restore_many(arrays, progress=lambda *done: told.append(done)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert all(np.array_equal(one, restorer.restore(given)) for one, given in zip(from_arrays, arrays, strict=True))
    images = [Image.fromarray(array) for array in arrays]
    assert [np.asarray(one).tobytes() for one in restorer.restore_many(images)] == [a.tobytes() for a in from_arrays]
    assert all(np.array_equal(a, b) for a, b in zip(restorer.restore_many(np.stack(arrays)), from_arrays, strict=True))
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    photos = list(restorer.restore_many(map(str, paths)))
    assert [photo.pixels.tobytes() for photo in photos] == [array.tobytes() for array in from_arrays]


def test_many_photos_are_taken_as_they_are_wanted(restorer: Restorer) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield noise(20, 30)

    found = restorer.restore_many(endless())
    assert taken == 0
    next(found), next(found)
    assert taken == 3


def test_one_broken_photo_among_many(restorer: Restorer, tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(noise(20, 30)).save(good)
    paths = [good, tmp_path / "missing.png", good]
    found = list(restorer.restore_many(paths, return_errors=True))
    assert [type(one) for one in found] == [Photo, PhotoError, Photo]
    results = restorer.restore_many(paths)
    assert isinstance(next(results), Photo)
    with pytest.raises(PhotoError, match=r"missing\.png"):
        next(results)
    with pytest.raises(UsageError, match="one photo"):
        restorer.restore_many("photo.png")
