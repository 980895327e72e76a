"""Result files."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_whole(path: Path, text: str) -> Path:
    """Write a file under a temporary name, then rename it: it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(file.name, 0o666 & ~umask)  # temporary files are made private
    os.replace(file.name, path)
    return path


def write_json(result: dict[str, Any], path: Path) -> Path:
    """Write what `run_benchmarks` returned."""
    return write_whole(path, json.dumps(result, indent=1) + "\n")
