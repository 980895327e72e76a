"""The HTML report: whole in one file, safe, readable, right numbers and pictures."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medkernels.zoo.engine import Report
from medkernels.zoo.engine.typeset import format_value

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Elements of a page with their attributes and text; checks that tags are balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        self.elements.append((tag, dict(attrs), text))
        if tag not in VOID:
            self._open.append((tag, text))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, text in self._open:
            text.append(data)

    def texts(self, tag: str) -> list[str]:
        return ["".join(text).strip() for name, _, text in self.elements if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


def saved(report: Report, folder: Path) -> Page:
    return Page(report.save(folder / "report.html"))


def picture(attributes: dict[str, Any]) -> np.ndarray:
    head, data = attributes["src"].split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def full_report() -> Report:
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([1, 2])
    report = Report("Title", "Sub with a [link](https://example.org).").metrics({"error": 0.5})
    for name in ("One", "Two", "Three", "Four"):
        report.section(name, "Some **text**.")
    report.figure(figure, "A line.").gallery([(np.eye(4), "eye"), (figure, "again")], "Both")
    return report.table([{"a": 1, "b": "x"}], "Numbers")


def test_nothing_is_fetched(tmp_path: Path) -> None:
    page = saved(full_report(), tmp_path)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _, _ in page.elements}
    for _, attributes, _ in page.elements:
        for name in ("src", "srcset", "poster", "background", "style"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"url\(|@import|@font-face", "".join(page.texts("style")))
    policy = [a["content"] for a in page.attributes("meta") if a.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_drawings_run_their_own_scripts_and_no_others(tmp_path: Path) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    evil = "</script><script>alert(1)</script>"
    figure = graph_objects.Figure(graph_objects.Scatter3d(x=[0, 1], y=[0, 2.5], z=[1, 0], text=[evil, "b"]))
    report = Report("T").interactive(figure, "Two *points*").interactive(figure, alt='Again"><script>')
    page = saved(report, tmp_path)
    library, first, second = page.texts("script")
    assert "plotly.js" in library[:100]
    drawn = [a for a in page.attributes("div") if "drawing" in (a.get("class") or "")]
    assert [a["aria-label"] for a in drawn] == ["Two points", 'Again"><script>']
    for text, element in ((first, drawn[0]), (second, drawn[1])):
        arguments = json.loads("[" + text.removeprefix("Plotly.newPlot(").removesuffix(");") + "]")
        assert arguments[0] == element["id"]
        assert arguments[1][0]["text"] == [evil, "b"]
        assert arguments[1][0]["y"] == [0, 2.5]
    scripts = (library, first, second)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    policy = next(a["content"] for a in page.attributes("meta") if a.get("http-equiv"))
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy == (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src " + allowed
    )


def test_what_is_no_plotly_figure_is_refused() -> None:
    with pytest.raises(TypeError, match="figure: want a plotly figure, got Figure"):
        Report("T").interactive(Figure())


def test_structure(tmp_path: Path) -> None:
    page = saved(full_report(), tmp_path)
    assert page.texts("title") == page.texts("h1") == ["Title"]
    assert page.texts("h2") == ["One", "Two", "Three", "Four"]
    assert page.attributes("html") == [{"lang": "en"}]
    anchors = [a["href"] for a in page.attributes("a") if a["href"].startswith("#")]
    assert anchors == [f"#{a['id']}" for a in page.attributes("section") if "id" in a]
    assert len(anchors) == 4
    assert all(a["alt"] for a in page.attributes("img"))
    assert "prefers-color-scheme: dark" in "".join(page.texts("style"))


def test_few_sections_need_no_contents(tmp_path: Path) -> None:
    report = Report("Title").section("One").section("Two").section("Three")
    assert saved(report, tmp_path).attributes("nav") == []


def test_sections_of_one_name_keep_apart(tmp_path: Path) -> None:
    report = Report("Title")
    for _ in range(4):
        report.section("Same, again")
    identities = [a["id"] for a in saved(report, tmp_path).attributes("section")]
    assert len(set(identities)) == 4


def test_markup_from_outside_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    report = Report(evil, evil).section(evil, evil + "\n\n![x](https://example.org/x.png)")
    report.metrics({evil: evil}).table([{evil: evil}], evil).figure(np.eye(3), evil, alt='"><script>')
    report.text("[x](javascript:alert(1))")
    page = saved(report, tmp_path)
    assert page.attributes("script") == []
    assert page.texts("h1") == [evil]
    assert page.texts("td") == [evil]
    assert len(page.attributes("img")) == 1
    assert not [a for a in page.attributes("a") if "javascript" in (a["href"] or "")]


def test_markdown(tmp_path: Path) -> None:
    page = saved(Report("T").text("A **b** `c`\n\n- one\n- two\n\n| x |\n|---|\n| 1 |"), tmp_path)
    assert page.texts("strong") == ["b"]
    assert page.texts("code") == ["c"]
    assert page.texts("li") == ["one", "two"]
    assert page.texts("td") == ["1"]


def test_table(tmp_path: Path) -> None:
    rows = [{"name": "a", "value": 12.5, "count": 3}, {"name": "b", "value": 0.5, "ok": True}]
    page = saved(Report("T").table(rows), tmp_path)
    assert page.texts("th") == ["name", "value", "count", "ok"]
    assert page.texts("td") == ["a", "12.50", "3", "–", "b", "0.50", "–", "yes"]
    numeric = [a.get("class") == "number" for a in page.attributes("th")]
    assert numeric == [False, True, True, False]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-3, "−3"),
        (1234567, "1\u202f234\u202f567"),
        (0.00123456, "0.001235"),
        (-0.5, "−0.5000"),
        (99.999, "100.00"),
        (12345.678, "12\u202f346"),
        (1.5e-9, "1.500\u202f×\u202f10⁻⁹"),
        (-2e12, "−2.000\u202f×\u202f10¹²"),
        (float("nan"), "nan"),
        (float("-inf"), "−inf"),
        (np.float32(0.25), "0.2500"),
        (np.int64(7), "7"),
        (np.bool_(False), "no"),
        ("0.5 s", "0.5 s"),
        (None, "–"),
    ],
)
def test_numbers(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "bool"])
def test_pictures_keep_every_pixel(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, shape).astype(np.uint8)
    given: Any = {"uint8": pixels, "bool": pixels > 127}.get(
        kind, (pixels / 255).astype(kind if "f" in kind else "u1")
    )
    if kind == "bool":
        pixels = (pixels > 127).astype(np.uint8) * 255
    image = saved(Report("T").figure(given, "*Small* one"), tmp_path).attributes("img")[0]
    assert np.array_equal(picture(image), pixels.squeeze(-1) if shape[-1] == 1 else pixels)
    assert (image["alt"], image["class"]) == ("Small one", "pixelated")


def test_tensors_are_pictures(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    image = saved(Report("T").figure(torch.eye(4)), tmp_path).attributes("img")[0]
    assert np.array_equal(picture(image), np.eye(4) * 255)


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    image = saved(Report("T").figure(np.zeros((300, 5000, 3), np.uint8)), tmp_path).attributes("img")[0]
    assert picture(image).shape == (144, 2400, 3)


def test_figures_have_their_own_size(tmp_path: Path) -> None:
    figure = Figure(figsize=(4, 3))
    figure.add_subplot().plot([1, 2])
    image = saved(Report("T").figure(figure, "Plot"), tmp_path).attributes("img")[0]
    assert int(image["width"] or 0) == pytest.approx(4 * 96, rel=0.15)
    assert picture(image).shape[1] > int(image["width"] or 0)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros((3, 4, 5)), ValueError, r"want shape .* got \[3, 4, 5\]"),
        (np.zeros((0, 4)), ValueError, r"got \[0, 4\]"),
        (np.zeros(4), ValueError, r"got \[4\]"),
        (np.zeros((3, 4), np.int64), TypeError, "got int64"),
        (np.full((3, 4), 255.0), ValueError, r"must lie in \[0, 1\], got 255 to 255"),
        (np.full((3, 4), np.nan), ValueError, r"must lie in \[0, 1\], got nan to nan"),
        ("picture.png", ValueError, "want shape"),
    ],
)
def test_bad_pictures(given: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Report("T").figure(given)


def test_empty_tables_and_galleries_are_refused() -> None:
    with pytest.raises(ValueError, match="rows: a table needs at least one row"):
        Report("T").table([])
    with pytest.raises(ValueError, match="pictures: a gallery needs at least one picture"):
        Report("T").gallery([])


def test_saving_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.html"
    assert Report("First").save(path) == path
    Report("Second").save(str(path))
    assert "Second" in path.read_text()
    assert [other.name for other in path.parent.iterdir()] == ["report.html"]
