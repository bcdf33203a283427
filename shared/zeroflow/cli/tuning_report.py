"""An Experiment as one HTML page without a script: its best trial, the history, parallel coordinates, all trials.

Drawn as SVG, so that the page needs nothing from elsewhere and can be kept or sent. Hovering tells of a trial. The
same drawings make a PNG.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import Unavailable

WIDTH, HEIGHT, MARGIN = 860, 300, 48
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; color: #1c2330; }
h1 { font-size: 1.4rem; margin-bottom: .2rem } h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15rem .9rem .15rem 0; text-align: left }
th { color: #5a6472; font-weight: 600 } .quiet { color: #5a6472 } svg { width: 100%; height: auto; display: block }
svg text { font: 11px system-ui, sans-serif; fill: #5a6472 } .best { font-weight: 600 }
"""
FONTS = ("DejaVu Sans", "Liberation Sans", "Noto Sans", "Helvetica", "Arial", "Verdana", "sans-serif")
PNG_STYLE = f"""
text {{ font-family: {", ".join(f"'{font}'" for font in FONTS)}; font-size: 11px; fill: #5a6472 }}
.title {{ font-size: 15px; fill: #1c2330 }}
"""
PNG_ZOOM = 2
GOOD, BAD, AXIS = (38, 110, 224), (214, 220, 228), "#9aa4b1"


@dataclass(frozen=True)
class Row:
    """One trial as it is shown."""

    number: int
    name: str
    state: str
    value: float | None
    parameters: dict[str, str]
    metrics: dict[str, str]
    message: str = ""


@dataclass(frozen=True)
class Report:
    """What the page tells."""

    title: str
    metric: str
    maximize: bool
    state: str
    message: str
    rows: Sequence[Row]

    @property
    def best(self) -> Row | None:
        """The best trial."""
        measured = [row for row in self.rows if row.value is not None]
        if not measured:
            return None
        return (max if self.maximize else min)(measured, key=lambda row: row.value or 0.0)

    def page(self) -> str:
        """Return the page."""
        parts = [
            f"<h1>{_safe(self.title)}</h1>",
            f'<p class="quiet">{_safe(self.state)}: {_safe(self.message)}</p>',
            self._best(),
            f"<h2>{_safe(self.metric)} by trial, and the best so far</h2>{history(self)}",
            f"<h2>Parameters</h2>{parallel(self)}",
            f"<h2>Trials</h2>{self._table()}",
        ]
        head = f"<meta charset=utf-8><title>{_safe(self.title)}</title><style>{STYLE}</style>"
        return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"

    def image(self) -> bytes:
        """Return history and parallel coordinates as a PNG; raise Unavailable where nothing can draw one.

        Words are drawn with a font of this machine, as a browser does.
        """
        try:
            from resvg_py import svg_to_bytes
        except ImportError as error:
            raise Unavailable("a PNG needs resvg-py: pip install 'zeroflow[plots]'") from error
        best = self.best
        told = f"{self.title}: {self.state}" + (f", best {self.metric}={best.value:.6g}" if best else "")
        parts = [
            f'<rect width="{WIDTH}" height="{2 * HEIGHT}" fill="white"/>',
            f'<text class="title" x="{MARGIN}" y="24">{_safe(told)}</text>',
            history(self),
            f'<g transform="translate(0 {HEIGHT})">{parallel(self)}</g>',
        ]
        sheet = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{2 * HEIGHT}">{"".join(parts)}</svg>'
        drawn: bytes = svg_to_bytes(svg_string=sheet, style_sheet=PNG_STYLE, zoom=PNG_ZOOM)
        return drawn

    def _best(self) -> str:
        best = self.best
        if best is None:
            return "<p>No trial has measured the objective.</p>"
        pairs = [(self.metric, f"{best.value:.6g}"), *best.parameters.items()]
        cells = "".join(f"<tr><th>{_safe(name)}</th><td>{_safe(value)}</td></tr>" for name, value in pairs)
        return f"<h2>Best: {_safe(best.name)}</h2><table>{cells}</table>"

    def _table(self) -> str:
        names = _names(self.rows)
        head = "".join(f"<th>{_safe(name)}</th>" for name in ("#", "state", self.metric, *names))
        best = self.best
        lines = []
        for row in self.rows:
            value = "" if row.value is None else f"{row.value:.6g}"
            cells = [str(row.number), row.state, value, *(row.parameters.get(name, "") for name in names)]
            mark = ' class="best"' if row is best else ""
            inner = "".join(f"<td>{_safe(cell)}</td>" for cell in cells)
            lines.append(f'<tr{mark} title="{_safe(row.message)}">{inner}</tr>')
        return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def history(report: Report) -> str:
    """Draw the value of each trial, and the best so far."""
    measured = [row for row in report.rows if row.value is not None]
    if not measured:
        return ""
    low, high = _bounds(row.value or 0.0 for row in measured)
    last = max(row.number for row in measured) or 1

    def place(row: Row, value: float) -> tuple[float, float]:
        return MARGIN + row.number / last * (WIDTH - 2 * MARGIN), _height((value - low) / (high - low))

    points, steps, best = [], [], math.nan
    for row in measured:
        value = row.value or 0.0
        better = math.isnan(best) or (value > best if report.maximize else value < best)
        best = value if better else best
        x, y = place(row, value)
        points.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_rgb(GOOD)}" opacity=".55">{_tip(report, row)}</circle>'
        )
        steps.append(f"{x:.1f},{place(row, best)[1]:.1f}")
    line = f'<polyline points="{" ".join(steps)}" fill="none" stroke="{_rgb(GOOD)}" stroke-width="1.6"/>'
    return _svg([*_scale(low, high), line, *points])


def parallel(report: Report) -> str:
    """Draw each trial as a line through its parameters; the better, the stronger."""
    names, measured = _names(report.rows), [row for row in report.rows if row.value is not None]
    if not names or not measured:
        return ""
    axes = [*((name, [row.parameters.get(name, "") for row in measured]) for name in names)]
    axes.append((report.metric, [f"{row.value!r}" for row in measured]))
    gap = (WIDTH - 2 * MARGIN) / max(1, len(axes) - 1)
    places = [_places(values) for _, values in axes]
    low, high = _bounds(row.value or 0.0 for row in measured)
    drawn: list[tuple[float, str]] = []
    for at, row in enumerate(measured):
        share = ((row.value or 0.0) - low) / (high - low)
        good = share if report.maximize else 1 - share
        points = " ".join(f"{MARGIN + axis * gap:.1f},{_height(place[at]):.1f}" for axis, place in enumerate(places))
        colour = _rgb(tuple(round(b + (g - b) * good**2) for g, b in zip(GOOD, BAD, strict=True)))
        stroke = f'fill="none" stroke="{colour}" stroke-width="1.4"'
        drawn.append((good, f'<polyline points="{points}" {stroke}>{_tip(report, row)}</polyline>'))
    lines = [each for _, each in sorted(drawn, key=lambda pair: pair[0])]
    for axis, (name, values) in enumerate(axes):
        x = MARGIN + axis * gap
        bottom, top = _ends(values)
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}" stroke="{AXIS}"/>')
        for y, text in ((MARGIN - 22, name), (MARGIN - 8, top), (HEIGHT - MARGIN + 14, bottom)):
            lines.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{_safe(text[:24])}</text>')
    return _svg(lines)


def _places(values: Sequence[str]) -> list[float]:
    """Return where values lie on an axis, from 0 to 1: numbers by size, words side by side."""
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers):
        low, high = _bounds(number or 0.0 for number in numbers)
        return [((number or 0.0) - low) / (high - low) for number in numbers]
    words = sorted(set(values))
    return [words.index(value) / max(1, len(words) - 1) for value in values]


def _ends(values: Sequence[str]) -> tuple[str, str]:
    numbers = [number for value in values if (number := _number(value)) is not None]
    if len(numbers) == len(values):
        return f"{min(numbers):.4g}", f"{max(numbers):.4g}"
    words = sorted(set(values))
    return words[0], words[-1] if len(words) > 1 else ""


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.parameters))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _bounds(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    low, high = min(found), max(found)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _height(share: float) -> float:
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)


def _scale(low: float, high: float) -> list[str]:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y, text = _height(share), f"{low + share * (high - low):.4g}"
        lines.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e8ee"/>')
        lines.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return lines


def _tip(report: Report, row: Row) -> str:
    values = ", ".join(f"{name}={value}" for name, value in row.parameters.items())
    return f"<title>{_safe(f'#{row.number} {row.name}: {report.metric}={row.value:.6g}; {values}')}</title>"


def _svg(parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">{"".join(parts)}</svg>'


def _rgb(colour: Sequence[int]) -> str:
    return f"rgb({','.join(map(str, colour))})"


def _safe(text: Any) -> str:
    return html.escape(str(text))
