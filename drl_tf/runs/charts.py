"""Draws charts as PNG files."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from drl_tf.base.files import written_aside

# {title of a panel: {label of a curve: {x: y}}}.
Panels: TypeAlias = Mapping[str, Mapping[str, Mapping[float, float]]]


def save(path: str, figure: Figure, dpi: int = 120) -> None:
    """Writes a matplotlib figure as a PNG file.

    Args:
      path: the PNG file.
      figure: the figure.
      dpi: pixels per inch.
    """
    with written_aside(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=dpi)


def save_curves(path: str, axis: str, x: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
    """Plots curves over a common x axis, and saves the chart as a PNG file.

    Args:
      path: the PNG file.
      axis: label of the x axis.
      x: positions on the x axis.
      curves: {label of a curve: its values, one for each position}.
    """
    figure = Figure(figsize=(5, 3.5), layout='constrained')
    axes = figure.subplots()
    for label, values in curves.items():
        axes.plot(x, values, marker='o', label=label)
    axes.set(xlabel=axis, ylim=(0, None))
    axes.legend()
    save(path, figure)


def save_bars(path: str, axis: str, bars: Mapping[str, float | None], floor: float | None = None) -> None:
    """Draws horizontal bars with labels, and saves the chart as a PNG file.

    Args:
      path: the PNG file.
      axis: label of the x axis, along which the bars extend.
      bars: {label: length of the bar}, from the top down; a label with the length None has no bar.
      floor: where to draw a dashed line across the bars, such as the score of real images; None: no line.
    """
    figure = Figure(figsize=(6, 0.8 + 0.3 * len(bars)), layout='constrained')
    axes = figure.subplots()
    lengths = [number or 0 for number in bars.values()]
    drawn = axes.barh(list(bars), lengths)
    axes.bar_label(drawn, ['' if number is None else f'{number:.3g}' for number in bars.values()], padding=3)
    if floor is not None:
        axes.axvline(floor, linestyle='--', color='black', label='floor')
        axes.legend()
    axes.set(xlabel=axis, xlim=(0, 1.15 * max(lengths)))
    axes.invert_yaxis()
    save(path, figure)


def save_points(
    path: str,
    axis: str,
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    joined: Collection[str] = (),
) -> None:
    """Plots groups of points into panels side by side, and saves the chart as a PNG file.

    Args:
      path: the PNG file.
      axis: label of the x axis, which is logarithmic.
      panels: {label of a panel's y axis: groups of points in the panel}, from left to right. The groups of a
        panel are {label of a group: [(x, y), ...]}.
      joined: labels of the groups whose points a line joins.
    """
    figure = Figure(figsize=(5 * len(panels), 3.5), layout='constrained')
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (measure, groups) in zip(row, panels.items(), strict=True):
        for number, (label, points) in enumerate(groups.items()):
            line = '-' if label in joined else ''
            x, y = zip(*points, strict=True)
            axes.plot(
                x, y, linestyle=line, marker='o', markersize=4 + 2 * number, fillstyle='none', label=label
            )
        axes.set(xlabel=axis, ylabel=measure, xscale='log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    row[-1].legend()
    save(path, figure)


def save_panels(path: str, axis: str, measure: str, panels: Panels, floor: float | None) -> None:
    """Plots curves into panels side by side, with a common y axis, and saves the chart as a PNG file.

    Args:
      path: the PNG file.
      axis: label of the x axis, which is linear up to 1 and logarithmic beyond.
      measure: label of the y axis, which is logarithmic.
      panels: {title of a panel: curves in the panel}, from left to right. The curves of a panel are
        {label of a curve: {x: y}}.
      floor: score of real images to compare with, drawn as a dashed line; None: no line.
    """
    figure = Figure(figsize=(4 * len(panels), 3.5), layout='constrained')
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, curves) in zip(row, panels.items(), strict=True):
        for label, points in curves.items():
            axes.plot(list(points), list(points.values()), marker='o', label=label)
        if floor is not None:
            axes.axhline(floor, linestyle='--', color='black', label='floor')
        axes.set(title=title, xlabel=axis, xscale='symlog', yscale='log')
    row[0].set(ylabel=measure)
    row[-1].legend()
    save(path, figure)
