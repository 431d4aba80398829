"""Compares the results of both methods of --mode=likelihood."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Mapping
from typing import Any

from drl_tf.base.files import read_sound_json
from drl_tf.runs.heights import effort_of_annealing, is_sound_direct

_SAME = ('weights_sha256', 'seed')


def side_by_side(workdir: str, result: Mapping[str, Any]) -> dict[str, str]:
    """Compares the bits per dimension that both methods of --mode=likelihood found for a run.

    One method estimates log Z_0, the log normalising constant, by annealing, the other with --method=direct.
    Two results are compared if they have the same weights, seed and number of images. Their energies are then
    the same, so they differ only by log Z_0.

    Args:
      workdir: the run's directory.
      result: the result of one method, as in its JSON file in `<workdir>/likelihood`.

    Returns:
      Lines to print, {label: text}; {} if there is no result of the other method to compare. Of several
      results of annealing, `heights.effort_of_annealing` chooses one.
    """
    paths = sorted(glob.glob(os.path.join(glob.escape(workdir), 'likelihood', '*.json')))
    others = [
        other
        for other in map(read_sound_json, paths)
        if _is_direct(other) != _is_direct(result)
        and (not _is_direct(other) or is_sound_direct(other, result['D']))
        and _images(other) == _images(result)
    ]
    if not others:
        return {}
    other = max(others, key=effort_of_annealing)
    return _figures(*((result, other) if _is_direct(result) else (other, result)))


def _is_direct(result: Mapping[str, Any]) -> bool:
    return result.get('method') == 'direct'


def _images(result: Mapping[str, Any]) -> list[Any]:
    """Returns the settings that decide the energies: weights, noise and number of images."""
    count = result.get('num_images', result.get('test', {}).get('num_images'))
    return [count, *(result.get(name) for name in _SAME)]


def _figures(direct: Mapping[str, Any], annealed: Mapping[str, Any]) -> dict[str, str]:
    """Returns the figures of a result of each method, as {label: text}."""
    heights = direct['heights']['bennett']
    log_z, error = (heights[name][0] for name in ('log_z', 'error'))

    def both(kind: str) -> str:
        low, high = (annealed[f'{kind}_{side}'] for side in ('low', 'high'))
        return (
            f'{direct["test"][f"{kind}_bennett"]:.4g} direct, {low:.4g} (low) to {high:.4g} (high) annealed'
        )

    def difference(side: str) -> str:
        nats = log_z - annealed[f'log_z_{side}']
        other = annealed[f'log_z_{side}_error']
        spread = '' if other is None else f' ± {math.hypot(error, other) / scale:.1g}'
        return f'{nats / scale:+.3f}{spread} ({side})'

    scale = annealed['D'] * math.log(2)
    return {
        'x_0, both methods': f'{both("density")} bits/dim',
        'grey levels, both': f'{both("discrete")} bits/dim',
        'direct - annealed': f'{difference("low")}, {difference("high")} bits/dim',
    }
