"""`Report`: one HTML file that explains a run, with its pictures inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup
from matplotlib.figure import Figure

from medkernels.zoo.engine.files import write_text
from medkernels.zoo.engine.interactive import drawing, library, policy
from medkernels.zoo.engine.pictures import embed
from medkernels.zoo.engine.typeset import format_column, format_value, is_number

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
    >>> _ = report.section("Result", "The **error** halves in ten epochs.").metrics({"error": 0.0123})
    >>> path = report.save("report.html")  # doctest: +SKIP
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._sections = [_Section("", "top")]
        self._scripts: list[Markup] = []

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
            (name, all(is_number(row[name]) for row in rows if row.get(name) is not None)) for name in names
        ]
        cells = zip(*(format_column([row.get(name) for row in rows]) for name in names), strict=True)
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
        return self._block("figure", picture=embed(figure, caption, alt), caption=_inline(caption))

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
        items = [(embed(picture, text, None), _inline(text)) for picture, text in pictures]
        return self._block("gallery", items=items, caption=_inline(caption))

    def interactive(self, figure: Any, caption: str = "", *, alt: str | None = None) -> Report:
        """Add a plotly figure that can be turned and zoomed; returns the report.

        The page then holds the script of plotly as well, 5 MB, and still asks for nothing from the network.

        Parameters
        ----------
        figure : plotly Figure
            Its own height is kept, its width is the page's.
        caption : str
            Markdown.
        alt : str, optional
            What it shows, for those who cannot see it or run no scripts; the caption if None.

        Raises
        ------
        TypeError
            If it is no plotly figure.
        ImportError
            If plotly is not installed.
        """
        anchor = f"drawing{len(self._scripts)}"
        self._scripts += [drawing(figure, anchor)] if self._scripts else [library(), drawing(figure, anchor)]
        told = re.sub(r"[*_`]", "", caption) if alt is None else alt
        return self._block("interactive", anchor=anchor, alt=told, caption=_inline(caption))

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
                scripts=self._scripts,
                allowed=Markup(" ".join(map(policy, self._scripts))),
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
