"""The picture of the folders, drawn from the imports that the code has: `svg()` gives it as text."""

import ast
import html
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent / 'drl_tf'
WIDTH, BOX, HEIGHT, STOREY = 480, 140, 46, 92


def imports():
    """{folder: the folders that it imports from}; a module at the top counts as a folder of its own."""
    found = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE).with_suffix('').parts
        if parts == ('__init__',):
            continue
        used = found.setdefault(parts[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            used.update(name.split('.')[1] for name in _names(node) if name.startswith('drl_tf.'))
        used -= {parts[0], '__version__'}
    return found


def _names(node):
    """Full names that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f'{node.module}.{alias.name}' for alias in node.names]
    return []


def floors(graph):
    """{folder: its floor}: 0 imports nothing, any other stands one above the highest that it imports."""
    floor = {}

    def find(folder):
        if folder not in floor:
            floor[folder] = 1 + max(map(find, graph[folder]), default=-1)
        return floor[folder]

    for folder in graph:
        find(folder)
    return floor


def arrows(graph):
    """{folder: the folders that it imports from and that no other arrow leads to}."""

    def below(folder):
        return graph[folder].union(*map(below, graph[folder]))

    return {folder: used - set().union(*map(below, used)) for folder, used in graph.items()}


def places(graph):
    """{folder: (x, y) of the middle of its box}; each stands above what it imports."""
    floor = floors(graph)
    top, x = max(floor.values()), {}
    for number in range(top + 1):
        storey = [folder for folder in graph if floor[folder] == number]
        storey.sort(key=lambda folder: _mean([x[other] for other in arrows(graph)[folder]]))
        x |= {folder: WIDTH * (2 * i + 1) / (2 * len(storey)) for i, folder in enumerate(storey)}
    return {folder: (x[folder], (top - floor[folder]) * STOREY + HEIGHT / 2 + 2) for folder in graph}


def _mean(numbers):
    return sum(numbers) / len(numbers) if numbers else WIDTH / 2


def _box(folder, x, y):
    modules = len(list((PACKAGE / folder).rglob('*.py'))) or 1
    words = '1 module' if modules == 1 else f'{modules} modules'
    return (
        f'<g class="folder {folder}"><rect x="{x - BOX / 2:g}" y="{y - HEIGHT / 2:g}" width="{BOX}" '
        f'height="{HEIGHT}" rx="8"/><text class="name" x="{x:g}" y="{y - 2:g}">{html.escape(folder)}</text>'
        f'<text class="count" x="{x:g}" y="{y + 15:g}">{words}</text></g>'
    )


def _arrow(begin, end):
    (x0, y0), (x1, y1) = begin, end
    y0, y1 = y0 + HEIGHT / 2, y1 - HEIGHT / 2 - 5
    bend = (y1 - y0) / 2
    return f'<path d="M{x0:g} {y0:g} C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"/>'


def svg():
    """The picture; its colours are those of the classes in `assets/site.css`."""
    graph = imports()
    place = places(graph)
    height = max(y for _, y in place.values()) + HEIGHT / 2 + 2
    lines = [
        _arrow(place[folder], place[other]) for folder in graph for other in sorted(arrows(graph)[folder])
    ]
    boxes = [_box(folder, *place[folder]) for folder in graph]
    return (
        '<svg class="folders" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-label="Folders of the package and what they import" viewBox="0 0 {WIDTH} {height:g}">'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
        f'<g class="arrows">{"".join(lines)}</g>{"".join(boxes)}</svg>'
    )
