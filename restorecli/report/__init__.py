"""Photos before and after on one self-contained page."""

from __future__ import annotations

from restorecli.report.page import Entry, Page, Scores, check_path
from restorecli.report.previews import Previews, capture, share_of

__all__ = ["Entry", "Page", "Previews", "Scores", "capture", "check_path", "share_of"]
