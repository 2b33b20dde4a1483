from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _logs_reach_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a command line that ran in this process made of them."""
    logger = logging.getLogger("restorecli")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
