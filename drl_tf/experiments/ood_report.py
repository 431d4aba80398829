"""Writes the result of --mode=ood as text, CSV, Markdown and a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from drl_tf.base.files import written_aside
from drl_tf.evaluation.metrics.detection import NAMES
from drl_tf.runs import charts

TITLES = {
    'lowest_level': 'log p, level 0',
    'scoring_level': 'log p, scoring level',
    'sum_of_levels': 'log p, sum of levels',
    'typicality': 'typicality',
    'gradient': 'gradient norm',
    'ratio_to_background': 'ratio to background',
    'ratio_to_png': 'ratio to PNG size',
    'mahalanobis': 'Mahalanobis, features',
    'png_size': 'PNG size',
}
_HEADS = {'auroc': 'AUROC', 'aupr': 'AUPR', 'fpr95': 'FPR at 95 % TPR'}


def figures(result: Mapping[str, Any]) -> dict[str, str]:
    """Formats the AUROCs of all scores for each set of images as lines to print.

    Args:
      result: the JSON result of --mode=ood, {'sets': {set of images: {score: {'auroc': number, ..}}}, ..}.

    Returns:
      {'AUROC, <set of images>': text}, where the text lists each score and its AUROC.
    """
    texts = {
        kind: ', '.join(f'{name} {scores[name]["auroc"]:.3f}' for name in TITLES if name in scores)
        for kind, scores in result['sets'].items()
    }
    return {f'AUROC, {kind}': text for kind, text in texts.items()}


def write(stem: str, result: Mapping[str, Any]) -> dict[str, str]:
    """Writes the result of --mode=ood as a CSV table, a Markdown table and a picture.

    Args:
      stem: path of the files without their extension.
      result: the JSON result of --mode=ood, {'sets': {set of images: {score: {name: value}}}, ..}. The names
        are 'auroc', 'aupr' and 'fpr95'; their 95 % intervals, [low, high], such as 'auroc_interval'; and
        'num_real' and 'num_other', the numbers of images of the test split and of the set.

    Returns:
      Lines to print, {label: path}.
    """
    with written_aside(f'{stem}.csv') as file:
        writer = csv.writer(file)
        bounds = [f'{name}_{side}' for name in NAMES for side in ('low', 'high')]
        writer.writerow(['set', 'score', *NAMES, *bounds, 'num_real', 'num_other'])
        for kind, scores in result['sets'].items():
            for name, found in scores.items():
                intervals = [bound for figure in NAMES for bound in found[f'{figure}_interval']]
                counts = (found['num_real'], found['num_other'])
                writer.writerow([kind, name, *(found[figure] for figure in NAMES), *intervals, *counts])
    with written_aside(f'{stem}.md') as file:
        file.write('\n'.join(_markdown(result)))
    _draw(f'{stem}.png', result)
    return {'table': f'{stem}.md', 'all figures': f'{stem}.csv', 'picture': f'{stem}.png'}


def _markdown(result: Mapping[str, Any]) -> list[str]:
    """Returns the lines of three tables, one for each figure, with 95 % intervals in brackets."""
    lines = []
    sets = result['sets']
    first = next(iter(sets.values()))
    names = [name for name in TITLES if name in first]
    for figure, head in _HEADS.items():
        lines += [f'| {head} | {" | ".join(sets)} |', f'|---|{"---|" * len(sets)}']
        for name in names:
            cells = []
            for scores in sets.values():
                low, high = scores[name][f'{figure}_interval']
                cells.append(f'{scores[name][figure]:.3f} [{low:.3f}, {high:.3f}]')
            lines.append(f'| {TITLES[name]} | {" | ".join(cells)} |')
        lines.append('')
    some = next(iter(first.values()))
    counts = ', '.join(
        f'{kind} {next(iter(scores.values()))["num_other"]:,}' for kind, scores in sets.items()
    )
    return [*lines, f'Images: {some["num_real"]:,} of the test split; {counts}.', '']


def _draw(path: str, result: Mapping[str, Any]) -> None:
    """Draws the AUROCs as a table in colours."""
    sets = result['sets']
    names = [name for name in TITLES if name in next(iter(sets.values()))]
    values = np.array([[scores[name]['auroc'] for scores in sets.values()] for name in names])
    figure = Figure(figsize=(2.4 + 0.8 * len(sets), 1.2 + 0.36 * len(names)), layout='constrained')
    axes = figure.subplots()
    axes.imshow(values, cmap='RdYlGn', vmin=0, vmax=1, aspect='auto')
    for row, column in np.ndindex(values.shape):
        ink = 'white' if abs(values[row, column] - 0.5) > 0.4 else 'black'
        axes.text(column, row, f'{values[row, column]:.3f}', ha='center', va='center', fontsize=8, color=ink)
    places = [kind.rsplit('/', 1)[-1] for kind in sets]
    axes.set_xticks(range(len(sets)), places, rotation=30, ha='right', parse_math=False)
    axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
    axes.set_title('AUROC against the test split', fontsize=10)
    charts.save(path, figure)
