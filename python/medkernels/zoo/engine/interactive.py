"""Plotly figures inside a page, with the scripts that draw them."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

from markupsafe import Markup

# What the bar above a figure offers; nothing that sends the figure anywhere.
_BUTTONS = [["toImage", "orbitRotation", "tableRotation", "zoom3d", "pan3d", "resetCameraDefault3d"]]
_CONFIG = {"responsive": True, "displaylogo": False, "modeBarButtons": _BUTTONS}
# Would end a script or break a line of it.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def drawing(figure: Any, anchor: str) -> Markup:
    """The script that draws a plotly figure into the element with the id `anchor`.

    Raises
    ------
    TypeError
        If it is no plotly figure.
    """
    if not callable(getattr(figure, "to_json", None)) or not hasattr(figure, "layout"):
        raise TypeError(f"figure: want a plotly figure, got {type(figure).__name__}")
    content = json.loads(figure.to_json())
    parts = [json.dumps(part) for part in (anchor, content["data"], content["layout"], _CONFIG)]
    text = ", ".join(parts)
    for character, escaped in _ESCAPED.items():
        text = text.replace(character, escaped)
    return Markup(f"Plotly.newPlot({text});")


@cache
def library() -> Markup:
    """The script that all drawings need, from the installed plotly."""
    from plotly.offline import get_plotlyjs  # slow to import, and few reports need it

    return Markup(get_plotlyjs())


def policy(script: str) -> str:
    """How a page's security policy names a script: by its content, so that no other one runs."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
