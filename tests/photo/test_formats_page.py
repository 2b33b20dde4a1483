"""What the program makes of every kind of file, as others see it."""

from __future__ import annotations

from pathlib import Path

from . import formats_page, judges


def test_every_format_comes_back_as_the_page_says(weights_files: dict[str, Path], tmp_path: Path) -> None:
    judges.need_judges()
    table, problems = formats_page.rows(tmp_path, weights_files["derain"])
    assert not problems
    assert formats_page.PAGE.read_text("utf-8") == formats_page.page(table), (
        "docs/formats.md is stale: python -m tests.photo.formats_page"
    )


def test_the_judges_are_strict(tmp_path: Path) -> None:
    judges.need_judges()
    for format, data in (("jpeg", b"\xff\xd8\xff\xe0junk"), ("png", b"\x89PNG\r\n\x1a\njunk"), ("tiff", b"II*\0junk")):
        path = tmp_path / f"broken.{format}"
        path.write_bytes(data)
        assert len(judges.complaints(path, format)) == 2
    before = {"IPTC:City": "Graz", "IFD0:Software": "a", "IFD0:Make": "b"}
    assert formats_page.unexplained(before, {"IFD0:Software": "restorecli"}) == [
        "IFD0:Make: 'b' -> 'None'",
        "IPTC:City: 'Graz' -> 'None'",
    ]
