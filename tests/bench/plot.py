"""Line and bar charts as SVG, with nothing but the standard library: for the pages of docs."""

import math
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 680, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 36, 48
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
COLOURS = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#566573"]


@dataclass
class Line:
    name: str
    points: list  # of (x, y)
    dashed: bool = False
    labels: list = field(default_factory=list)  # a text for each point, or none


def ticks_of(high, wanted=5):
    """Round numbers from 0 to the first at or above high."""
    high = high or 1
    raw = high / wanted
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * by for by in (1, 2, 5, 10) if size * by >= raw * 0.999)
    return [round(i * step, 10) for i in range(math.ceil(high / step - 1e-9) + 1)]


def number(value):
    return f"{value:,.0f}" if abs(value) >= 10000 else f"{value:g}"


def text(x, y, what, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(what)}</text>'


class Frame:
    """The empty chart: title, axis of y with its grid; x is the caller's."""

    def __init__(self, title, x_name, y_name, y_high):
        self.ticks = ticks_of(y_high * 1.02)
        middle = TOP + PLOT_HEIGHT / 2
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            text(LEFT, 20, title, "start", ' font-size="14"'),
            text(LEFT + PLOT_WIDTH / 2, HEIGHT - 10, x_name),
            text(16, middle, y_name, more=f' transform="rotate(-90 16 {middle})"')]
        for tick in self.ticks:
            y = self.y(tick)
            self.parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
            self.parts.append(text(LEFT - 6, y + 4, number(tick), "end"))

    def y(self, value):
        return TOP + PLOT_HEIGHT * (1 - value / self.ticks[-1])

    def name_of_x(self, x, what):
        self.parts.append(text(x, HEIGHT - BOTTOM + 18, what))

    def legend(self, i, name, dash=""):
        y = TOP + 12 + 18 * i
        self.parts.append(f'<line x1="{WIDTH - RIGHT + 12}" y1="{y}" x2="{WIDTH - RIGHT + 34}" y2="{y}" '
                          f'stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="3"{dash}/>')
        self.parts.append(text(WIDTH - RIGHT + 40, y + 4, name, "start"))

    def svg(self):
        return "\n".join(self.parts + ["</svg>", ""])


def chart(title, x_name, y_name, lines, even=False, x_low=0):
    """The SVG's text. even: the values of x stand at even distances (8, 16, 32, ...), each with its tick; else x begins at x_low."""
    xs = sorted({x for line in lines for x, _ in line.points})
    frame = Frame(title, x_name, y_name, max(y for line in lines for _, y in line.points))
    ticks = [x_low + tick for tick in ticks_of(xs[-1] - x_low)]

    def at(x):
        if even:
            return LEFT + PLOT_WIDTH * (xs.index(x) + 0.5) / len(xs)
        return LEFT + PLOT_WIDTH * (x - x_low) / (ticks[-1] - x_low)

    for x in xs if even else ticks:
        frame.name_of_x(at(x), number(x))
    for i, line in enumerate(lines):
        colour, dash = COLOURS[i % len(COLOURS)], ' stroke-dasharray="5 4"' if line.dashed else ""
        path = " ".join(f"{at(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
        frame.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for x, y in line.points:
            frame.parts.append(f'<circle cx="{at(x):.1f}" cy="{frame.y(y):.1f}" r="3" fill="{colour}"/>')
        for (x, y), label in zip(line.points, line.labels):
            frame.parts.append(text(at(x) + 5, frame.y(y) - 5, label, "start", ' font-size="10"'))
        frame.legend(i, line.name, dash)
    return frame.svg()


def bars(title, y_name, groups, names):
    """Bars side by side: groups is [(group, [a value or None for each name])]."""
    frame = Frame(title, "", y_name, max(v for _, values in groups for v in values if v is not None))
    slot = PLOT_WIDTH / len(groups)
    wide = slot * 0.8 / len(names)
    for g, (group, values) in enumerate(groups):
        for i, value in enumerate(values):
            if value is not None:
                y, x = frame.y(value), LEFT + slot * (g + 0.1) + wide * i
                frame.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide * 0.92:.1f}" '
                                   f'height="{TOP + PLOT_HEIGHT - y:.1f}" fill="{COLOURS[i % len(COLOURS)]}"/>')
        frame.name_of_x(LEFT + slot * (g + 0.5), group)
    for i, name in enumerate(names):
        frame.legend(i, name)
    return frame.svg()
