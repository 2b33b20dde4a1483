"""Which photo belongs to which."""

from __future__ import annotations

from pathlib import Path

from restorecli.report.matching import match_folders


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def _told(before: Path, after: Path) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    found = match_folders(before, after)
    assert not found.unsure
    return (
        [(str(a.relative_to(before)), str(b.relative_to(after))) for a, b in found.pairs],
        [str(path.relative_to(before)) for path in found.alone],
        [str(path.relative_to(after)) for path in found.unused],
    )


def test_the_same_place_goes_before_the_same_name(tmp_path: Path) -> None:
    before = _touch(
        tmp_path / "b", "one/1.jpg", "two/1.jpg", "two/2.jpg", "0012_0.8_0.2.jpg", "lost.jpg", "_dehazed.png"
    )
    after = _touch(
        tmp_path / "a", "one/1_dehazed.png", "two/1.jpg", "2_derained.JPG", "0012.png", "more.jpg", "text.txt"
    )
    assert _told(before, after) == (
        [
            ("0012_0.8_0.2.jpg", "0012.png"),
            ("one/1.jpg", "one/1_dehazed.png"),
            ("two/1.jpg", "two/1.jpg"),
            ("two/2.jpg", "2_derained.JPG"),
        ],
        ["_dehazed.png", "lost.jpg"],
        ["more.jpg"],
    )


def test_a_name_that_is_there_twice_is_no_guess(tmp_path: Path) -> None:
    before = _touch(tmp_path / "b", "1.jpg")
    after = _touch(tmp_path / "a", "one/1.jpg", "two/1.jpg")
    found = match_folders(before, after)
    assert found.unsure == [(before / "1.jpg", [after / "one/1.jpg", after / "two/1.jpg"])]
    assert (found.pairs, found.alone, found.unused) == ([], [], [])


def test_outputs_beside_their_inputs_and_in_a_folder_within(tmp_path: Path) -> None:
    both = _touch(tmp_path / "both", "1.jpg", "1_dehazed.jpg", "2.jpg", "sub/3.png", "sub/3_derained.webp")
    pairs = [("1.jpg", "1_dehazed.jpg"), ("sub/3.png", "sub/3_derained.webp")]
    assert _told(both, both) == (pairs, ["2.jpg"], [])
    before = _touch(tmp_path / "b", "1.jpg", "clear/1.jpg")
    assert _told(before, before / "clear") == ([("1.jpg", "1.jpg")], [], [])


def test_results_beside_their_sources_are_passed_over_and_suffixes_keep_photos_apart(tmp_path: Path) -> None:
    before = _touch(tmp_path / "b", "1.jpg", "1_derained.jpg", "2.jpg", "2.png", "3_derained.jpg")
    after = _touch(tmp_path / "a", "1.jpg", "1_dehazed.png", "2.jpg", "2.png", "3.jpg")
    pairs = [("1.jpg", "1.jpg"), ("2.jpg", "2.jpg"), ("2.png", "2.png"), ("3_derained.jpg", "3.jpg")]
    assert _told(before, after) == (pairs, [], [])
