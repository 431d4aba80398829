"""Describes the charts of a page as JSON values, which JavaScript in the page draws with BokehJS."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_LONGEST = 400  # Largest number of points of a curve.
_BINS = 30
Curve = tuple[Sequence[float], Sequence[float]]
Chart = dict[str, Any]


@functools.cache
def library() -> str:
    """Returns the JavaScript library BokehJS as HTML script elements, 1.4 MB, for pages that work offline."""
    from bokeh.resources import Resources  # Takes a second.

    return Resources(mode='inline', components=['bokeh', 'bokeh-api']).render_js()


def _thinned(count: int) -> np.ndarray:
    """Returns the ascending indices of at most 400 of `count` points, evenly spaced, with the first and last.

    Examples:
      >>> _thinned(3), len(_thinned(1000))
      (array([0, 1, 2]), 400)
    """
    return np.unique(np.linspace(0, count - 1, min(count, _LONGEST)).round().astype(int))


def curves(
    title: str, x_label: str, lines: Mapping[str, Curve], marks: Sequence[float] = (), dots: bool = False
) -> Chart:
    """Describes a chart of several curves over a common x axis.

    Of a curve with more than 400 points, 400 evenly spaced ones are kept, with the first and the last.

    Args:
      title: title of the chart: what the y axis shows.
      x_label: what the x axis shows.
      lines: {label: (x, y)}, in the order of the legend; a y that is not finite makes a gap.
      marks: x positions at which to draw dashed vertical lines.
      dots: whether to draw a dot at each point of a curve.

    Returns:
      The chart as a JSON value.

    Examples:
      >>> curves('loss', 'step', {'level 0': ([1, 2], [0.5, math.nan])})['lines']
      [{'label': 'level 0', 'x': [1, 2], 'y': [0.5, None], 'dots': False}]
    """
    drawn = []
    for label, (x, y) in lines.items():
        kept = _thinned(len(x))
        drawn.append(
            {
                'label': label,
                'x': [x[i] for i in kept],
                'y': [_finite(y[i]) for i in kept],
                'dots': dots or len(kept) == 1,
            }
        )
    return {'title': title, 'x_label': x_label, 'y_label': '', 'lines': drawn, 'marks': list(marks)}


def _finite(value: float) -> float | None:
    """Rounds a number to six digits, to keep the page small; returns None if it is not finite."""
    return float(f'{value:.6g}') if math.isfinite(value) else None


def histograms(title: str, groups: Mapping[str, np.ndarray]) -> Chart:
    """Describes a chart with the histograms of several sets of energies.

    The histograms share 30 bins. These reach from the smallest of the sets' 1st percentiles to the largest of
    their 99th percentiles. The first and the last bin also count the energies beyond that range.

    Args:
      title: title of the chart.
      groups: {label: energies in nats, float [n]}.

    Returns:
      The chart as a JSON value.
    """
    lows, highs = zip(*(np.percentile(each, (1, 99)) for each in groups.values()), strict=True)
    edges = np.linspace(min(lows), max(max(highs), min(lows) + 1e-6), _BINS + 1)
    outlines = {}
    for label, energies in groups.items():
        counts = np.histogram(np.clip(energies, edges[0], edges[-1]), edges)[0] / len(energies)
        x = np.repeat(edges, 2)
        y = np.concatenate([[0], np.repeat(counts, 2), [0]])
        outlines[label] = (x.tolist(), y.tolist())
    return {**curves(title, 'energy in nats', outlines), 'y_label': 'share of the images'}
