"""The progress bar: there on a terminal, silent elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from medkernels.zoo.engine import logs
from tests.zoo.jobs import job


def screen(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, force_interactive=terminal, width=120)
    monkeypatch.setattr(logs, "console", console)
    return shown


def test_shows_where_the_run_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=True)
    _, result = job(tmp_path, progress=True)
    best = min(row["valid_loss"] for row in result.history[:2])
    assert "epoch 3/3 step 5/5 loss " in shown.getvalue()
    assert f"best {best:.4g}" in shown.getvalue()
    assert "left" in shown.getvalue()
    assert "0:00:00" in shown.getvalue()


@pytest.mark.parametrize(("terminal", "progress"), [(False, True), (True, False)])
def test_is_silent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    terminal: bool,
    progress: bool,
) -> None:
    shown = screen(monkeypatch, terminal=terminal)
    job(tmp_path, progress=progress, max_epochs=1)
    assert shown.getvalue() == ""
    assert capfd.readouterr() == ("", "")
