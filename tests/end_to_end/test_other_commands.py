"""``train``, ``finetune``, ``export`` and ``eval``, as a user calls them."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from restorecli import read_photo
from restorecli.beside_torch import imported
from restorecli.export import Report
from restorecli.weights import Weights, catalogue, resolve
from tests.end_to_end.conftest import Call
from tests.small import noise

Restore = Callable[..., Call]
Photo = Callable[..., Path]
Engine = Callable[[str], list[str]]

SMALL_RUN = (
    *("--steps", "2", "--batch", "2", "--crop", "48", "--seed", "3", "--device", "cpu", "--precision", "fp32"),
    *("--workers", "0", "--set", "unpaired.weight=0", "--set", "data.exclude=[]", "--set", "data.rgbd=''"),
    *("--set", "generator.widths=[8, 8, 16]", "--set", "generator.blocks=[1, 1, 2]", "--set", "generator.stem=2"),
    *("--set", "generator.global_width=16", "--set", "generator.thumbnail=64"),
)


@pytest.fixture
def folders(photo: Photo, tmp_path: Path) -> list[Path | str]:
    for index in range(3):
        photo(f"rainy/{index}.png", 64, 72)
        photo(f"clean/{index}.png", 72, 64)
    return ["--rainy", tmp_path / "rainy", "--clean", tmp_path / "clean"]


def test_what_train_writes_restores_a_photo(
    restore: Restore, photo: Photo, folders: list[Path | str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    call = restore("train", *folders, "--out", run, *SMALL_RUN)
    assert call.code == 0, call.err
    assert call.out.splitlines() == [str(run / "generator.safetensors")]
    assert {"config.toml", "log.jsonl", "samples", "checkpoint", "generator.safetensors"} <= {
        path.name for path in run.iterdir()
    }
    assert restore("derain", photo(), "--weights", run / "generator.safetensors", "--device", "cpu").code == 0
    # What it tells others of itself has nothing of this machine.
    assert restore("weights", "pack", run, "--out", tmp_path / "packed").code == 0
    assert "rainy and clean: 3 degraded and 3 clear photos" in (tmp_path / "packed" / "README.md").read_text()
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in (tmp_path / "packed").iterdir())
    # A larger --steps extends the run, and another configuration is refused.
    longer = [*SMALL_RUN, "--steps", "3"]
    assert restore("train", *folders, "--out", run, *longer, "--quiet").code == 0
    call = restore("train", *folders, "--out", run, *longer, "--seed", "4")
    assert (call.code, len(call.errors)) == (5, 1)


def test_finetune_starts_from_weights(
    restore: Restore, folders: list[Path | str], weights_files: dict[str, Path], tmp_path: Path
) -> None:
    call = restore("finetune", "--from", weights_files["derain"], *folders, "--out", tmp_path / "run", *SMALL_RUN)
    assert call.code == 0, call.err
    assert (tmp_path / "run" / "generator.safetensors").exists()
    # Without pairs it says what was measured on, and what became of it.
    assert "too few photos to spare" in call.err and "judged without pairs" in call.err
    # Whoever gets the weights is told where they come from.
    assert restore("weights", "pack", tmp_path / "run", "--out", tmp_path / "packed").code == 0
    card = (tmp_path / "packed" / "README.md").read_text()
    digest = hashlib.sha256(weights_files["derain"].read_bytes()).hexdigest()
    assert f"Fine-tuned from: {weights_files['derain'].name} (SHA-256 {digest})" in card
    assert "restore finetune --from THOSE --preset config.toml" in card and str(tmp_path) not in card


def test_a_batch_is_of_the_crops_that_a_preset_has(restore: Restore, folders: list[Path | str]) -> None:
    def shown(preset: str, *more: str) -> str:
        small = ["--set", "data.exclude=[]", "--crop", "64", "--device", "cpu", "--dry-run", "--preset", preset]
        return restore("train", *folders, *small, *more).out

    strict = shown("dcd", "--batch", "2", "--set", "unpaired.queue=64")
    assert "batch = 2" in strict.partition("[unpaired]")[2] and "batch = 2" not in strict.partition("[unpaired]")[0]
    assert "batch = 2" in shown("ship-derain", "--batch", "2").partition("[unpaired]")[0]
    call = restore("train", *folders, "--preset", "dcd", "--batch", "2", "--set", "unpaired.batch=2")
    assert call.code == 2 and "--batch and --set unpaired.batch" in call.err


def test_options_and_settings_may_need_one_another(restore: Restore, folders: list[Path | str]) -> None:
    small = ["--set", "data.exclude=[]", "--device", "cpu", "--dry-run", "--preset", "ship-derain"]
    call = restore("train", *folders, *small, "--crop", "256", "--set", "unpaired.scales=4")
    assert call.code == 0, call.err
    assert "crop = 256" in call.out and "scales = 4" in call.out


def test_dry_run_shows_the_resolved_preset(restore: Restore, folders: list[Path | str], tmp_path: Path) -> None:
    call = restore("train", *folders, "--out", tmp_path / "run", *SMALL_RUN, "--dry-run")
    assert call.code == 0, call.err
    assert 'task = "derain"' in call.out and "seed = 3" in call.out and "crop = 48" in call.out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--preset", "ship-dehaze"], 2),
        (["--preset", "deraim"], 2),
        (["--set", "no.such=1"], 2),
        (["--set", "unpaired.start"], 2),
        (["--steps", "3", "--set", "steps=4"], 2),
        (["--val", "here:there"], 2),
        (["--time-limit", "soon"], 2),
        (["--device", "quantum"], 2),
    ],
)
def test_wrong_training_options(
    more: list[str], code: int, restore: Restore, folders: list[Path | str], tmp_path: Path
) -> None:
    call = restore("train", *folders, "--out", tmp_path / "run", *more)
    assert (call.code, len(call.err.splitlines())) == (code, 1)


def test_a_training_folder_without_photos(restore: Restore, folders: list[Path | str], tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    call = restore("train", "--rainy", tmp_path / "none", *folders[2:], "--out", tmp_path / "run", *SMALL_RUN)
    assert (call.code, len(call.err.splitlines())) == (5, 1)
    assert str(tmp_path / "none") in call.err


def test_export(restore: Restore, photo: Photo, weights_files: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "mine.safetensors"
    shutil.copy(weights_files["derain"], source)
    call = restore("export", source, "--onnx", "--json")
    assert call.code == 0, call.err
    (report,) = call.objects
    assert report["output"] == str(tmp_path / "mine.onnx") and report["largest_difference"] < 0.25
    call = restore("derain", photo(), "--weights", source, "--backend", "onnx", "--device", "cpu", "--json")
    assert call.objects[0]["backend"] == "onnx"
    call = restore("export", source, "--onnx", "--out", tmp_path / "half" / "h.onnx", "--precision", "fp16")
    assert call.code == 0, call.err
    assert (tmp_path / "half" / "h.onnx").stat().st_size < (tmp_path / "mine.onnx").stat().st_size


def test_export_of_a_name_never_writes_among_the_shipped_weights(
    restore: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is called like them, or their own path, is no reason to."""
    written: list[Path] = []

    def exported(weights: Weights, target: Path, *, precision: str) -> Report:
        written.append(target)
        return Report(target, 1, "", 18, precision, 0.0, ())

    monkeypatch.setattr("restorecli.export.export_onnx", exported)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "derain").write_bytes(b"anything")
    for asked in ("derain", str(resolve("derain", "derain").path)):
        assert restore("export", asked, "--onnx").code == 0
    assert written == [Path("derain.onnx")] * 2


def test_eval_goes_on_after_what_nobody_foresaw(
    restore: Restore, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        photo(f"target/{name}")
    shutil.copytree(tmp_path / "target", tmp_path / "restored")

    def scored(self: object, source: Path, wanted: Path | None) -> dict[str, float]:
        if source.stem != "c":
            raise MemoryError if source.stem == "a" else ZeroDivisionError("odd")
        return {"psnr": 30.0}

    monkeypatch.setattr("restorecli.scoring.Scorer.__call__", scored)
    call = restore("eval", "--restored", tmp_path / "restored", "--target", tmp_path / "target", "--json")
    assert call.code == 1
    kinds = [found["error"]["kind"] for found in call.objects if found.get("error")]
    assert kinds == ["out_of_memory", "internal"]
    assert call.objects[-1] == {"mean_of": 1, "failed": 2, "psnr": 30.0}


def test_eval_of_restored_photos(restore: Restore, photo: Photo, tmp_path: Path) -> None:
    photo("target/a.png")
    shutil.copytree(tmp_path / "target", tmp_path / "restored")
    call = restore("eval", "--restored", tmp_path / "restored", "--target", tmp_path / "target", "--json")
    assert call.code == 0
    photo_scores, mean = call.objects
    expected = {"psnr": 100.0, "ssim": 1.0, "psnr_y": 100.0, "ssim_y": 1.0}
    assert expected.items() <= photo_scores.items()
    assert mean == {"mean_of": 1, "failed": 0} | expected


def test_eval_tells_people_and_tables_the_same(restore: Restore, photo: Photo, tmp_path: Path) -> None:
    for name in ("a.png", "b/c.png", "small.png"):
        size = (10, 40) if name == "small.png" else (40, 56)
        photo(f"target/{name}", *size)
        photo(f"restored/{name.replace('.png', '_derained.jpg')}", *size, quality=80)
    photo("target/unused.png")
    folders = ("--restored", tmp_path / "restored", "--target", tmp_path / "target")
    call = restore("eval", *folders, "--csv", tmp_path / "out" / "scores.csv")
    assert call.code == 1
    assert "unused.png: no photo" in call.errors[0] and "too small" in call.errors[1] and len(call.errors) == 2
    assert "2 scored, 2 failed" in call.err
    head, *lines = call.out.splitlines()
    assert head.split() == ["photo", "PSNR", "SSIM", "PSNR-Y", "SSIM-Y"]
    assert [line.split()[0] for line in lines] == ["a_derained.jpg", str(Path("b", "c_derained.jpg")), "mean"]
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, False, True, True, False]
    first, second, mean = (float(rows[index]["psnr_y"]) for index in (0, 1, 4))
    assert mean == pytest.approx((first + second) / 2, abs=1e-5) and f"{mean:.2f}" in lines[-1]
    # An older table is replaced, another one is not.
    other = tmp_path / "friends.csv"
    other.write_text("name,phone\nbob,1\n")
    assert restore("eval", *folders, "--csv", tmp_path / "out" / "scores.csv").code == 1
    for bad in (tmp_path / "target" / "a.png", tmp_path / "scores", other):
        call = restore("eval", *folders, "--csv", bad)
        assert (call.code, len(call.err.splitlines())) == (2, 1) and call.out == ""
    assert other.read_text() == "name,phone\nbob,1\n"


def test_eval_with_lpips_when_its_weights_are_here(
    restore: Restore, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        models = imported("torchmetrics.image") and imported("torchvision.models")
    except ImportError:
        pytest.skip("torchmetrics or torchvision is not installed: pip install 'restorecli[lpips]'")
    from restorecli import perceptual

    photo("target/a.png", 40, 56)
    photo("restored/a.jpg", 40, 56, quality=20)
    photo("target/b.png", 31, 56)
    photo("restored/b.png", 31, 56)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    arguments = ["--restored", tmp_path / "restored", "--target", tmp_path / "target", "--lpips"]
    call = restore("eval", *arguments)
    path = perceptual.alexnet_path()
    assert call.code == 3 and str(path) in call.err and "download.pytorch.org" in call.err and not path.exists()
    torch.manual_seed(0)
    state = models.alexnet(weights=None).state_dict()
    # The layers above those that LPIPS looks at, a quarter of a gigabyte, as one number each.
    state |= {name: torch.zeros(1).expand_as(value) for name, value in state.items() if "features" not in name}
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    assert restore("eval", *arguments).code == 3
    monkeypatch.setattr(perceptual, "sha256_of", lambda _: "7be5be79" + "0" * 56)
    call = restore("eval", *arguments, "--json")
    too_small, scores, mean = sorted(call.objects, key=lambda found: "lpips" in found)
    assert call.code == 1 and "32x32" in too_small["error"]["message"]
    assert 0 < scores["lpips"] == mean["lpips"]
    restored, target = (read_photo(tmp_path / name).pixels for name in ("restored/a.jpg", "target/a.png"))
    assert perceptual.Lpips()(restored, target) == pytest.approx(scores["lpips"], abs=1e-5)
    assert perceptual.Lpips()(target, target) == 0


def test_eval_with_niqe_needs_no_target(
    restore: Restore, photo: Photo, weights_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        natural = imported("deepinv.loss.metric").NIQE
    except ImportError:
        pytest.skip("deepinv is not installed: pip install 'restorecli[niqe]'")
    from restorecli import niqe

    cat = data.chelsea()[:288, :384]
    (tmp_path / "in").mkdir()
    Image.fromarray(cat).save(tmp_path / "in" / "cat.png")
    noisy = cat + np.random.default_rng(0).normal(0, 25, cat.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "in" / "noisy.png")
    Image.fromarray(np.full_like(cat, 90)).save(tmp_path / "in" / "flat.png")
    photo("in/small.png", 96, 191)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    restored = ["--restored", tmp_path / "in"]
    assert "--target" in restore("eval", *restored).err
    call = restore("eval", *restored, "--niqe")
    path = niqe.statistics_path()
    assert call.code == 3 and str(path) in call.err and "https://" in call.err and not path.exists()
    path.parent.mkdir(parents=True)
    for wrong in (b"none", torch.zeros(3)):
        path.write_bytes(wrong) if isinstance(wrong, bytes) else torch.save({"mu": wrong, "cov": wrong}, path)
        call = restore("eval", *restored, "--niqe")
        assert call.code == 3 and "get it again" in call.err
    photos = [torch.from_numpy(each.astype(np.float32)).permute(2, 0, 1) for each in (data.astronaut(), data.coffee())]
    mean, spread = natural(weights_path=None, round_tensor=True).create_weights(photos)
    # Two photos do not span all that photos of nature vary in.
    torch.save({"mu": mean, "cov": spread + 0.01 * torch.eye(len(mean))}, path)
    call = restore("eval", *restored, "--niqe", "--json")
    assert call.code == 1 and "too flat" in call.errors[0] and "192x96" in call.errors[1]
    scores = {Path(each["input"]).name: each.get("niqe") for each in call.objects[:-1]}
    assert 0 < scores["cat.png"] < scores["noisy.png"] and call.objects[-1]["mean_of"] == 2
    assert niqe.Niqe()(cat) == pytest.approx(scores["cat.png"], abs=1e-5)
    for name in ("flat.png", "small.png", "noisy.png"):
        (tmp_path / "in" / name).unlink()
    more = ["--target", tmp_path / "in", "--niqe", "--weights", weights_files["derain"]]
    call = restore("eval", "--task", "derain", "--input", tmp_path / "in", *more)
    head, line, _ = call.out.splitlines()
    assert call.code == 0 and head.split()[5:] == ["NIQE", "gain", "gain-Y", "NIQE", "before"]
    assert line.split()[-1] == f"{scores['cat.png']:.2f}"
    shutil.copy(tmp_path / "in" / "cat.png", tmp_path / "in" / "cat_derained.png")
    (result, _) = restore("eval", *restored, "--niqe", "--json").objects
    assert Path(result["input"]).name == "cat_derained.png"


def test_eval_restores_first(restore: Restore, photo: Photo, weights_files: dict[str, Path], tmp_path: Path) -> None:
    photo("input/a_0.8.jpg")
    photo("input/b.jpg")
    photo("input/alone.jpg")
    photo("target/a.png")
    photo("target/b.png", 41, 56)
    options = ["--task", "derain", "--target", tmp_path / "target", "--weights", weights_files["derain"]]
    call = restore("eval", "--input", tmp_path / "input", *options, "--json")
    assert call.code == 1
    assert ["alone.jpg" in call.errors[0], "b.jpg" in call.errors[1], len(call.errors)] == [True, True, 2]
    alone, scores, other_size, mean = call.objects
    assert (alone["error"]["kind"], other_size["error"]["kind"]) == ("no_target", "size")
    assert {"psnr", "ssim", "psnr_y", "ssim_y", "gain", "gain_y"} <= scores.keys()
    assert mean["mean_of"] == 1 and mean["gain"] == scores["gain"]
    assert np.isfinite(mean["psnr"])


def test_eval_of_folders_that_do_not_match(restore: Restore, photo: Photo, tmp_path: Path) -> None:
    photo("one/a.png")
    photo("two/b.png")
    call = restore("eval", "--restored", tmp_path / "one", "--target", tmp_path / "two")
    assert (call.code, len(call.err.splitlines())) == (2, 1)
    call = restore("eval", "--restored", tmp_path / "nowhere", "--target", tmp_path / "two")
    assert (call.code, len(call.err.splitlines())) == (2, 1)


def test_export_never_replaces_what_is_no_onnx_file(
    restore: Restore, weights_files: dict[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "mine.safetensors"
    shutil.copy(weights_files["derain"], source)
    before = source.read_bytes()
    (tmp_path / "a.jpg").touch()
    for out in (source, tmp_path / "a.jpg" / "x.onnx"):
        call = restore("export", source, "--onnx", "--out", out)
        assert (call.code, len(call.err.splitlines())) == (2, 1)
    assert source.read_bytes() == before
    shutil.copy(weights_files["derain"].with_suffix(".onnx"), tmp_path / "other.onnx")
    call = restore("export", tmp_path / "other.onnx", "--onnx", "--out", tmp_path / "other.onnx")
    assert call.code == 2 and "its own export" in call.err
    # What was there and is no export stays; an export is replaced.
    for body in (b"precious", (tmp_path / "other.onnx").read_bytes()):
        (tmp_path / "kept.onnx").write_bytes(body)
        call = restore("export", source, "--onnx", "--out", tmp_path / "kept.onnx")
        assert call.code == (2 if body == b"precious" else 0), call.err
        assert ((tmp_path / "kept.onnx").read_bytes() == body) == (body == b"precious") == ("no export" in call.err)
    # Nothing is wrong with the weights where the file cannot be written.
    (tmp_path / "loop").symlink_to("loop")
    for out, code in ((tmp_path / ("n" * 300 + ".onnx"), 1), (tmp_path / "loop" / "x.onnx", 2)):
        call = restore("export", source, "--onnx", "--out", out)
        assert (call.code, len(call.err.splitlines())) == (code, 1), call.err
    call = restore("export", source, "--onnx", "--out", tmp_path / "notyet")
    assert call.code == 0, call.err
    assert [path.name for path in (tmp_path / "notyet").iterdir()] == ["mine.onnx"]


def test_benchmark(restore: Restore, weights_files: dict[str, Path]) -> None:
    options = ["--weights", weights_files["derain"], "--megapixels", "0.02", "--runs", "2", "--backend", "onnx"]
    call = restore("benchmark", *options, "--device", "cpu", "--json")
    assert call.code == 0, call.err
    (found,) = call.objects
    assert (found["backend"], found["device"], found["precision"]) == ("onnx", "cpu", "fp32")
    assert found["megapixels_per_second"] > 0 and len(found["seconds"]) == 2 and found["error"] is None
    assert found["peak_memory"] is None or found["peak_memory"] > 30e6
    call = restore("benchmark", *options, "--device", "tensorrt", "--precision", "fp32")
    assert call.code == 4 and "--device tensorrt" in call.errors[-1]


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["derain", "{photo}", "--weights", f"{LONG}.safetensors"], 3),
        (["derain", "{photo}", "--report", f"{LONG}.html"], 2),
        (["compare", LONG, "{photo}"], 2),
        (["eval", "--restored", LONG, "--target", LONG], 2),
        (["export", f"{LONG}.safetensors", "--onnx"], 3),
        (["weights", "pack", LONG, "--out", "pack"], 3),
        (["train", "--rainy", LONG, "--clean", LONG], 5),
    ],
)
def test_names_that_no_disk_takes_are_the_command_lines_fault(
    arguments: list[str], code: int, restore: Restore, photo: Photo
) -> None:
    call = restore(*(argument.format(photo=photo("a.png")) for argument in arguments))
    assert call.code == code and len(call.err.splitlines()) == 1 and "internal" not in call.err


def test_a_checksum_that_is_asked_for_is_compared_whatever_is_pulled(restore: Restore) -> None:
    there = next(entry for entry in catalogue() if entry.name == "derain")
    assert restore("weights", "pull", "derain", "--sha256", there.sha256.upper()).code == 0
    call = restore("weights", "pull", "derain", "--sha256", "0" * 64)
    assert call.code == 3 and there.sha256 in call.err


def test_a_table_that_cannot_be_written_is_known_before_anything_is_scored(
    restore: Restore, photo: Photo, tmp_path: Path
) -> None:
    photo("in/a.png")
    folders = ["--restored", tmp_path / "in", "--target", tmp_path / "in"]
    call = restore("eval", *folders, "--csv", tmp_path / "in" / "a.png" / "scores.csv")
    assert call.code == 2 and "--csv" in call.err and call.out == ""
    call = restore("eval", "--restored", tmp_path / "none", "--target", tmp_path, "--csv", tmp_path / "made" / "t.csv")
    assert call.code == 2 and not (tmp_path / "made").exists()


def test_a_photo_that_a_format_cannot_hold_is_named(restore: Restore, tmp_path: Path, engine: Engine) -> None:
    pixels = np.dstack([noise(40, 56), noise(40, 56)[..., 0]])
    Image.fromarray(pixels).save(tmp_path / "a  b.png")
    for more in (["--format", "jpg"], ["--out", tmp_path / "x.jpg"]):
        call = restore("derain", tmp_path / "a  b.png", *more, *engine("derain"))
        assert call.code == 1 and f"{tmp_path}/a  b.png -> " in call.err
        assert "JPEG cannot hold its transparency; choose another format, such as png" in call.err
