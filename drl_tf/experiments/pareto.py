"""Pareto local search over samplers: which was best for its cost, and which to measure next.

The search keeps the settings to which no other is better in both, gradients and distance (the Pareto front),
and measures neighbours of them (Paquete, Chiarandini and Stützle, Pareto local optimum sets, 2004). The next
setting depends only on those measured, so a search goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

# 'options', 'gradients' per image, 'distance' (None if the samples were not finite), and maybe 'agreement'.
Row: TypeAlias = Mapping[str, Any]
_LOST_AGREEMENT = 0.01  # A cheaper sampler may lose this much class agreement.


def front(rows: Sequence[Row]) -> list[Row]:
    """Returns the samplers that no other one beats in cost and quality: the Pareto front.

    They are sorted by gradients, ascending. Each has a smaller distance than the one before.

    Args:
      rows: measured samplers, {'gradients': gradients per sample, 'distance': Fréchet distance, ..}. Rows
        whose distance is None are left out.

    Examples:
      >>> rows = [{'gradients': n, 'distance': d} for n, d in ((7, 0.8), (3, 2.0), (9, 0.9), (3, 1.5))]
      >>> [(row['gradients'], row['distance']) for row in front(rows)]
      [(3, 1.5), (7, 0.8)]
    """
    kept: list[Row] = []
    finite = [row for row in rows if row['distance'] is not None]
    for row in sorted(finite, key=lambda row: (row['gradients'], row['distance'])):
        if not kept or row['distance'] < kept[-1]['distance']:
            kept.append(row)
    return kept


def best(rows: Sequence[Row], most_gradients: int = 0) -> Row:
    """Returns the best of the measured samplers; `most_gradients` can limit their cost.

    With a limit, the best sampler is the one with the smallest distance within the limit. Without a limit, it
    is the sampler with the fewest gradients that is as good as the run's own one: its distance is not larger,
    and its class agreement is at most one percentage point smaller. Class agreement is the share of samples
    that a classifier assigns to the class with which they were drawn.

    Args:
      rows: measured samplers, {'gradients': gradients per sample, 'distance': Fréchet distance, or None if a
        sample was not finite, 'agreement': class agreement from 0 to 1, if known}. The first row is the run's
        own sampler, and its distance is finite.
      most_gradients: largest number of gradients per sample; 0: no limit.

    Returns:
      One of the rows; the first row if no other qualifies.

    Examples:
      >>> rows = [{'gradients': n, 'distance': d} for n, d in ((180, 1.0), (30, 0.9), (10, 2.0))]
      >>> best(rows)['gradients'], best(rows, most_gradients=20)['gradients']
      (30, 10)
    """
    own = rows[0]
    finite = [row for row in rows if row['distance'] is not None]
    if most_gradients:
        cheap = [row for row in finite if row['gradients'] <= most_gradients]
        return min(cheap, key=lambda row: (row['distance'], row['gradients']), default=own)
    least = own.get('agreement', 0.0) - _LOST_AGREEMENT
    good = [
        row for row in finite if row['distance'] <= own['distance'] and row.get('agreement', 1.0) >= least
    ]
    return min(good, key=lambda row: (row['gradients'], row['distance']))


def following(
    rows: Sequence[Row],
    start: Sequence[dict[str, Any]],
    neighbours: Callable[[Row], Sequence[dict[str, Any]]],
    key: Callable[[dict[str, Any]], str],
    wanted: Row | None = None,
) -> dict[str, Any] | None:
    """Chooses the sampler to measure next in a search for samplers that are cheap and good.

    First come the samplers of `start`, in order. After these, the search takes a sampler on the Pareto front
    (the samplers that no other beats in both cost and quality), and measures one of its neighbours. It takes
    the sampler with the fewest measured neighbours; of several such samplers, the one nearest to `wanted` on
    the front.

    Args:
      rows: measured samplers, {'options': .., 'gradients': gradients per sample, 'distance': ..}.
      start: options of the samplers with which the search starts.
      neighbours: callable that maps a row to the options of similar samplers, the most promising first.
      key: callable that maps options to a text, the same for equal options.
      wanted: the best row so far, such as the result of `best`; None: the first row.

    Returns:
      Options of the sampler; None if all neighbours of the front were measured, which ends the search.

    Examples:
      >>> rows = [{'options': {'K': 3}, 'gradients': 3, 'distance': 1.0}]
      >>> following(rows, [{'K': 3}], lambda row: [{'K': row['options']['K'] + 1}], str)
      {'K': 4}
    """
    measured = {key(row['options']) for row in rows}
    new = [options for options in start if key(options) not in measured]
    if new:
        return new[0]
    kept = front(rows)
    middle = sum(row['gradients'] < (wanted or rows[0])['gradients'] for row in kept)
    open_rows = []
    for index, row in enumerate(kept):
        beside = neighbours(row)
        new = [options for options in beside if key(options) not in measured]
        if new:
            open_rows.append((len(beside) - len(new), abs(index - middle), index, new[0]))
    return min(open_rows, key=lambda each: each[:3], default=(None,))[-1]
