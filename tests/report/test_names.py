"""What photos are called on a page."""

from __future__ import annotations

import os
from pathlib import Path

from restorecli.report.names import Names


def test_names_are_as_short_as_they_can_be_and_printable(tmp_path: Path) -> None:
    one, other = tmp_path / "in" / "1.jpg", tmp_path / "in" / "deep" / os.fsdecode(b"caf\xe9\n.jpg")
    names = Names([one, other])
    assert [names.of(one), names.of(other)] == ["1.jpg", "deep/caf\\xe9\\n.jpg"]
    assert names.of(tmp_path / "out.jpg") == str(tmp_path / "out.jpg")
    assert Names([one]).of(one) == "1.jpg"
