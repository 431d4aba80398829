"""Draws charts of several curves as PNG files."""

from collections.abc import Mapping
from typing import TypeAlias

from matplotlib.figure import Figure

from drl_tf.base.files import written_aside

# {title of a panel: {label of a curve: {x: y}}}.
Panels: TypeAlias = Mapping[str, Mapping[str, Mapping[float, float]]]


def save_panels(path: str, axis: str, measure: str, panels: Panels, floor: float | None) -> None:
    """Plots curves into panels side by side, with a common y axis, and saves them as a PNG file.

    Args:
      path: the PNG file.
      axis: label of the x axis, which is linear up to 1 and logarithmic beyond.
      measure: label of the y axis, which is logarithmic.
      panels: {title of a panel: {label of a curve: {x: y}}}.
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
    with written_aside(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=120)
