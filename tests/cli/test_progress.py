"""The progress display."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from liere_cli.cli import console
from liere_cli.cli.progress import ECHO_WIDTH, ProgressBar


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bars_leave_room_for_the_terminal_s_echo_of_ctrl_c(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An echo that makes the last line one row longer would leave a copy of it behind."""
    written = io.StringIO()

    def screen(**settings: Any) -> Console:
        settings["width"] = settings.get("width") or width
        return Console(file=written, force_terminal=True, color_system=None, **settings)

    monkeypatch.setattr(console, "stderr", screen)
    display = ProgressBar()
    with display:
        display._start_bars("all runs", 55)
        display._show("", details="22/55 · about 2m 3s left · " + "x" * 200)
        assert display.bars is not None
        display.bars.refresh()
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).replace("\r", "\n").split("\n")
    assert any("all runs" in row for row in rows)
    assert max(map(len, rows)) <= width - ECHO_WIDTH
