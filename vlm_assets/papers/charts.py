"""Bar charts as SVG, drawn here and not in the browser: no script, whatever a label says; equal figures, equal bytes.

leather draws; colours are the page's (CSS variables), so that a chart follows light and dark. Each chart has its
words: a sentence for screen readers, a title on every bar, and the numbers beside it as a table.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import leather
from leather import theme
from markupsafe import Markup

WIDTH: Final = 380
_BAR: Final = 22
_TICK: Final = 16
"""Half of the last number below the bars."""
_HEAD: Final = 42
_LABEL: Final = 24
"""Characters of a label; the table has it whole."""
_MOST_BARS: Final = 20
_ROOM: Final = 1.22
"""Of the longest bar: behind it stands its number."""
_TICKS: Final = 5
"""Numbers below the bars at most, besides zero."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_NUMBERS: Final = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))

theme.background_color = "none"
theme.margin = 0.01
theme.tick_font_family = "inherit"
theme.tick_font_size = 12
theme.tick_font_char_width = 7.4  # of wide system fonts; narrower ones leave some room
theme.label_color = "var(--soft)"
theme.tick_color = "var(--line)"
theme.zero_color = "var(--line)"
theme.default_series_colors = ["var(--bar)"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its words."""

    title: str
    svg: Markup
    rows: Sequence[tuple[str, int]]
    """All of them, those too that are not drawn."""
    unit: str
    drawn: int


def bar_chart(
    title: str, counts: Mapping[str, int] | Iterable[tuple[str, int]], unit: str = "rows"
) -> Chart | None:
    """Horizontal bars in the order given, at most 20; None where there is nothing to draw."""
    rows = list(counts.items() if isinstance(counts, Mapping) else counts)
    if not any(value for _, value in rows):
        return None
    drawn = rows[:_MOST_BARS]
    labels = _unlike([_short(name) for name, _ in drawn])
    chart = leather.Chart()
    values = [value for _, value in drawn]
    chart.set_x_scale(_FromZero(max(values) * _ROOM))
    chart.add_x_axis(tick_formatter=lambda value, _number, _count: in_short(float(value)))
    chart.add_bars([(value, label) for value, label in zip(values, labels, strict=True)])
    height = _HEAD + _BAR * len(drawn)
    drawing = chart.to_svg_group(WIDTH, height)
    _number_bars(drawing, drawn)
    return Chart(title, _svg(drawing, height, _spoken(title, rows, unit)), rows, unit, len(drawn))


class _FromZero:
    """A scale for leather, with a few round ticks: its own search for them takes longer than all the rest."""

    def __init__(self, most: float) -> None:
        self._most = most
        rough = most / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        self._step = max(1.0, next(step * power for step in (1, 2, 5, 10) if step * power >= rough))

    def contains(self, value: float) -> bool:
        return 0 <= value <= self._most

    def project(self, value: float, low: float, high: float) -> float:
        return round(float(low) + float(value) / self._most * (float(high) - float(low)), 2)

    def ticks(self) -> list[float]:
        return [number * self._step for number in range(int(self._most / self._step) + 1)]


def in_short(value: float) -> str:
    """`1.2M`; whole numbers below a thousand as they are."""
    for size, name in _NUMBERS:
        if value >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def _short(name: str) -> str:
    clean = _CONTROL.sub("�", name) or "(none)"
    return clean if len(clean) <= _LABEL else f"{clean[: _LABEL // 2]}…{clean[-(_LABEL // 2 - 1) :]}"


def _unlike(labels: Sequence[str]) -> list[str]:
    """Leather places bars by their labels, so no two may be alike."""
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        found.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return found


def _number_bars(drawing: ET.Element, rows: Sequence[tuple[str, int]]) -> None:
    """A title on every bar, and its number behind it. leather draws the last bar first."""
    (group,) = (one for one in drawing.iter("g") if one.get("class") == "series bars")
    for bar, (name, value) in zip(list(group), reversed(rows), strict=True):
        for key in ("x", "y", "width", "height"):
            bar.set(key, f"{float(bar.get(key, '0')):.1f}")
        ET.SubElement(bar, "title").text = f"{_CONTROL.sub('�', name)}: {value:,}"
        place = {
            "x": f"{float(bar.get('x', '0')) + float(bar.get('width', '0')) + 4:.1f}",
            "y": f"{float(bar.get('y', '0')) + float(bar.get('height', '0')) / 2:.1f}",
            "dy": "0.35em", "font-size": "12", "fill": "var(--text)",
        }  # fmt: skip
        ET.SubElement(group, "text", place).text = in_short(value)


def _svg(drawing: ET.Element, height: int, spoken: str) -> Markup:
    root = ET.Element(
        "svg",
        {"viewBox": f"0 0 {WIDTH + _TICK} {height}", "role": "img", "aria-label": spoken, "class": "chart"},
    )
    root.append(drawing)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree escapes every text and attribute


def _spoken(title: str, rows: Sequence[tuple[str, int]], unit: str) -> str:
    largest = sorted(rows, key=lambda one: -one[1])[:3]
    told = ", ".join(f"{_CONTROL.sub('�', name)} {value:,}" for name, value in largest)
    return f"Bar chart: {title}. {len(rows)} bars; the largest: {told} {unit}."
