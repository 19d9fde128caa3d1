"""Draw the layers of the package from its imports: ``python docs/draw_layers.py`` writes ``docs/images/layers.svg``.

A room is a folder or a module at the top of the package. It stands one row above the highest room that it imports.
Lines show the imports between neighbouring rows. Imports that reach further down are left out, for clarity.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "airflow_provider_pindo"
PICTURE = ROOT / "docs" / "images" / "layers.svg"

#: Rooms that every other room may use, or that only describe the package.
LEFT_OUT = {"get_provider_info", "__init__"}
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 132, 40, 20, 56, 24


def rooms() -> dict[str, set[str]]:
    """Return each room with the rooms that it imports."""
    imported: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).with_suffix("").parts[0]
        imported.setdefault(room, set()).update(_imported(file))
    names = imported.keys() - LEFT_OUT
    return {room: {other for other in imported[room] & names if other != room} for room in sorted(names)}


def _imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("airflow_provider_pindo.")}


def rows(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms by row, the ground first."""
    row: dict[str, int] = {}
    for room in TopologicalSorter(imports).static_order():
        row[room] = max((row[other] + 1 for other in imports[room]), default=0)
    return [
        sorted(room for room, number in row.items() if number == level)
        for level in range(max(row.values()) + 1)
    ]


def draw(imports: dict[str, set[str]]) -> str:
    """Return the picture, as SVG."""
    levels = rows(imports)
    widest = max(map(len, levels))
    width = widest * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    height = len(levels) * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    corners: dict[str, tuple[int, int]] = {}
    for level, names in enumerate(levels):
        margin = (width - len(names) * (WIDTH + GAP_X) + GAP_X) // 2
        for position, room in enumerate(names):
            corners[room] = (
                margin + position * (WIDTH + GAP_X),
                height - MARGIN - HEIGHT - level * (HEIGHT + GAP_Y),
            )
    below = dict(zip(map(tuple, levels[1:]), levels, strict=False))
    lines = [
        _line(corners[room], corners[other])
        for names, lower in below.items()
        for room in names
        for other in lower
        if other in imports[room]
    ]
    boxes = [_box(room, *corners[room]) for room in sorted(corners)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
            'font-size="13" role="img" aria-label="The layers of the package: each room imports what is below it">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _line(upper: tuple[int, int], lower: tuple[int, int]) -> str:
    x1, y1 = upper[0] + WIDTH // 2, upper[1] + HEIGHT
    x2, y2 = lower[0] + WIDTH // 2, lower[1]
    bend = (y2 - y1) // 2
    return (
        f'<path d="M{x1} {y1} C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}" fill="none" stroke="#9aa5b1" '
        'stroke-width="1.5"/>'
    )


def _box(room: str, x: int, y: int) -> str:
    fill = {"api": "#dff1e4", "sandbox": "#f4ecd8"}.get(
        room, "#fdeee6" if room.startswith("_") else "#e3edf9"
    )
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="#5b6875"/>'
        f'<text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 5}" text-anchor="middle" fill="#1f2933">'
        f"{escape(room)}</text>"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(rooms()), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} is drawn")
