"""`Report`: one HTML file that explains a run, with its pictures inside."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from medkernels.zoo.engine.files import write_text

# Dots per inch of matplotlib figures: sharp on screens of double density at the usual page width.
_DPI = 160
# Pictures below this width are enlarged on the page without smoothing, so that pixels stay visible.
_SMALL = 128
# Longest side of an embedded picture, px; larger ones are reduced.
_LARGEST = 2400
_SUPERSCRIPT = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
# From this many sections on a page gets a table of contents.
_CONTENTS_FROM = 4


@dataclass
class _Section:
    title: str
    anchor: str
    blocks: list[Markup] = field(default_factory=list)


class Report:
    """A page of text, tables and pictures, added in reading order and saved as one HTML file.

    The file asks for nothing from the network, reads well in light and dark, on a phone and on paper.
    Text is Markdown; HTML in it is shown as text.

    Parameters
    ----------
    title : str
        The page's heading.
    subtitle : str
        A line of Markdown below it.

    Examples
    --------
    >>> report = Report("Ellipses on tissue")
    >>> report.section("Result", "The **error** halves in ten epochs.").metrics({"error": 0.0123})
    >>> path = report.save("report.html")  # doctest: +SKIP
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._sections = [_Section("", "top")]

    def section(self, title: str, text: str = "") -> Report:
        """Begin a section; returns the report.

        Parameters
        ----------
        title : str
            Its heading.
        text : str
            Markdown that opens it.
        """
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        self._sections.append(_Section(title, f"s{len(self._sections)}-{slug}"))
        return self.text(text) if text else self

    def text(self, text: str) -> Report:
        """Add Markdown: paragraphs, lists, tables, code; returns the report."""
        return self._add(Markup(f'<div class="text">{_markdown().render(text)}</div>'))

    def metrics(self, values: Mapping[str, object]) -> Report:
        """Add a row of named figures, set large; returns the report.

        Parameters
        ----------
        values : mapping
            Name to a number or short text; floats are shown to four significant digits.
        """
        return self._block("metrics", items=[(name, format_value(value)) for name, value in values.items()])

    def table(self, rows: Sequence[Mapping[str, object]], caption: str = "") -> Report:
        """Add a table; returns the report.

        Parameters
        ----------
        rows : sequence of mappings
            Column name to value; columns appear in the order they are first met, and a row may lack
            some. Columns of numbers are aligned to the right.
        caption : str
            Markdown.

        Raises
        ------
        ValueError
            If there is no row.
        """
        if not rows:
            raise ValueError("rows: a table needs at least one row")
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = [
            (name, all(_is_number(row[name]) for row in rows if row.get(name) is not None)) for name in names
        ]
        cells = zip(*(_format_column([row.get(name) for row in rows]) for name in names), strict=True)
        return self._block("table", columns=columns, rows=list(cells), caption=_inline(caption))

    def figure(self, figure: Figure | Any, caption: str = "", *, alt: str | None = None) -> Report:
        """Add a picture; returns the report.

        Parameters
        ----------
        figure : matplotlib Figure or array
            Arrays: ``[H,W]``, ``[H,W,1]``, ``[H,W,3]`` or ``[H,W,4]``, uint8, or float in [0, 1]. The
            figure is not closed.
        caption : str
            Markdown.
        alt : str, optional
            What the picture shows, for those who cannot see it; the caption if None.

        Raises
        ------
        TypeError, ValueError
            If it is no picture, or a float picture leaves [0, 1].
        """
        return self._block("figure", picture=_picture(figure, caption, alt), caption=_inline(caption))

    def gallery(self, pictures: Sequence[tuple[Any, str]], caption: str = "") -> Report:
        """Add pictures side by side, as many a row as fit; returns the report.

        Parameters
        ----------
        pictures : sequence of (figure or array, caption)
            As for `figure`.
        caption : str
            Markdown, for all together.

        Raises
        ------
        TypeError, ValueError
            As `figure`; also if there is no picture.
        """
        if not pictures:
            raise ValueError("pictures: a gallery needs at least one picture")
        items = [(_picture(picture, text, None), _inline(text)) for picture, text in pictures]
        return self._block("gallery", items=items, caption=_inline(caption))

    def save(self, path: str | Path) -> Path:
        """Write the page.

        Parameters
        ----------
        path : path
            The HTML file; replaced whole if it exists, and its folder is created if missing.

        Returns
        -------
        Path
            The same path.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        sections = [section for section in self._sections if section.title or section.blocks]
        titled = [section for section in sections if section.title]
        html = (
            _templates()
            .get_template("report.html.j2")
            .render(
                title=self.title,
                subtitle=_inline(self.subtitle),
                sections=sections,
                contents=titled if len(titled) >= _CONTENTS_FROM else [],
                written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            )
        )
        path = Path(path)
        write_text(path, html)
        return path

    def _block(self, kind: str, **content: object) -> Report:
        macro = getattr(_templates().get_template("blocks.html.j2").module, kind)
        return self._add(macro(**content))

    def _add(self, block: Markup) -> Report:
        self._sections[-1].blocks.append(block)
        return self


def format_value(value: object) -> str:
    """Text of a value as reports show it: floats to four significant digits, thousands set apart.

    Examples
    --------
    >>> format_value(0.0123456), format_value(True), format_value(12345)
    ('0.01235', 'yes', '12\u202f345')
    """
    if value is None:
        return "\u2013"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return _typeset(f"{int(value):,}")
    if not isinstance(value, (float, np.floating)):
        return str(value)
    return _format_float(float(value), _decimals(float(value)))


def _format_column(values: Sequence[object]) -> list[str]:
    """Texts of a column: numbers of like size get the same number of decimals."""
    sizes = [abs(float(v)) for v in values if isinstance(v, (float, np.floating)) and math.isfinite(v) and v]
    if not sizes or max(sizes) > 1e3 * min(sizes):
        return [format_value(value) for value in values]
    decimals = _decimals(max(sizes))
    return [
        _format_float(float(value), decimals)
        if isinstance(value, (float, np.floating))
        else format_value(value)
        for value in values
    ]


def _decimals(number: float) -> int:
    """Decimals that show four significant digits."""
    if number == 0 or not math.isfinite(number):
        return 0
    return max(0, 3 - math.floor(math.log10(abs(number))))


def _format_float(number: float, decimals: int) -> str:
    if number != 0 and math.isfinite(number) and not 1e-4 <= abs(number) < 1e7:
        digits, power = f"{number:.3e}".split("e")
        return f"{_typeset(digits)}\u202f\u00d7\u202f10{str(int(power)).translate(_SUPERSCRIPT)}"
    return _typeset(f"{number:,.{decimals}f}")


def _typeset(number: str) -> str:
    return number.replace("-", "\u2212").replace(",", "\u202f")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


@dataclass(frozen=True)
class _Picture:
    source: str  # data URL
    alt: str
    width: int  # CSS px at natural size
    pixelated: bool


def _picture(figure: Figure | Any, caption: str, alt: str | None) -> _Picture:
    buffer = io.BytesIO()
    if isinstance(figure, Figure):
        figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight")
        width, scale = Image.open(buffer).width, 96 / _DPI  # 96 CSS px an inch
        pixelated = False
    else:
        image = Image.fromarray(_pixels(figure))
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        image.save(buffer, format="png", optimize=True)
        width, pixelated = image.width, max(image.size) < _SMALL
        scale = math.ceil(_SMALL / max(image.size)) if pixelated else 1
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return _Picture(
        source=f"data:image/png;base64,{encoded}",
        alt=re.sub(r"[*_`]", "", caption) if alt is None else alt,
        width=round(width * scale),
        pixelated=pixelated,
    )


def _pixels(array: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture as uint8, ``[H,W]`` or ``[H,W,3|4]``."""
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)) or 0 in pixels.shape:
        raise ValueError(f"picture: want shape [H,W], [H,W,3] or [H,W,4], got {list(np.shape(array))}")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if not np.issubdtype(pixels.dtype, np.floating):
        raise TypeError(f"picture: want uint8, bool or float, got {pixels.dtype}")
    # A hair beyond [0, 1] is rounding; more is a picture on another scale.
    if not (pixels.min() >= -1e-3 and pixels.max() <= 1 + 1e-3):
        raise ValueError(f"picture: floats must lie in [0, 1], got {pixels.min():.4g} to {pixels.max():.4g}")
    return np.round(pixels.clip(0, 1) * 255).astype(np.uint8)


def _inline(text: str) -> Markup:
    return Markup(_markdown().renderInline(text))


@cache
def _markdown() -> MarkdownIt:
    # Raw HTML is shown as text; images are off, as they could be fetched from elsewhere.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
