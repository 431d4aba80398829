"""Formats scores for printing, and averages scores over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.evaluation.metrics import score as scoring

if TYPE_CHECKING:
    from drl_tf.evaluation.evaluator import Evaluator
_TITLES = {'fid': 'FID', 'kid': 'KID', 'inception_score': 'Inception score'}


def figures(evaluator: Evaluator, result: Mapping[str, Any]) -> dict[str, str]:
    """Formats the main scores, such as Fréchet distance, precision and recall, for printing.

    Args:
      evaluator: the evaluator that computed the scores.
      result: the scores, {name: value}, from `Evaluator.score`, or averaged by `over_seeds`.

    Returns:
      {label: text}, such as {'precision': '0.71'}, with an entry for each line to print. Scores that are
      missing from `result` are left out. The last entry, 'against', describes the real images with which the
      samples were compared.
    """
    frechet, kernel, classifier = scoring.names(evaluator.extractor).values()
    titles = {
        frechet: _TITLES.get(frechet, 'Fréchet distance'),
        'floor': 'its floor',
        f'{frechet}_held_out_size': 'in parts',
        kernel: _TITLES.get(kernel, 'kernel distance'),
        classifier: _TITLES.get(classifier, 'classifier score'),
        **{name: name for name in ('precision', 'recall', 'density', 'coverage')},
        'class_agreement': 'class agreement',
    }
    notes = {
        frechet: f' ({result["num_samples"]:,} samples; {result["extractor"]} {result["extractor_hash"]})',
        'floor': f' ({result["num_held_out"]:,} held-out images)',
        f'{frechet}_held_out_size': f' ({result["num_held_out"]:,} samples at a time)',
        'class_agreement': ' of the samples are classified as the requested class',
    }
    shown = {
        title: _figure(result, name) + notes.get(name, '') for name, title in titles.items() if name in result
    }
    return {**shown, 'against': result['real']}


def _figure(result: Mapping[str, Any], name: str) -> str:
    """Formats a score, with its deviation over seeds or, failing that, its standard error if known."""
    errors = (
        result.get('deviation', {}).get(name),
        result.get(f'{name}_error'),
        result.get(f'{name}_deviation'),
    )
    error = next((error for error in errors if error is not None), None)
    if error is None:
        return f'{result[name]:.4g}'
    return f'{result[name]:.4g} ± {error:.2g}'


def over_seeds(seeds: Sequence[int], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Averages the scores of samples from several seeds.

    Args:
      seeds: the seeds.
      results: for each seed, the scores {name: value} from `Evaluator.score`.

    Returns:
      {name: value}. For a single seed: its scores, and 'seed'. For several seeds: the mean of each score that
      is a float. A value of another type, such as the number of samples, is that of the first seed. These
      entries are added:

      - 'seeds': the seeds.
      - 'deviation': {name: standard deviation over the seeds}, for each score that is a float, but for
        'floor': it does not depend on the samples.
      - 'by_seed': a list of the scores of each seed.

      The share of samples in each class, 'predicted_classes', is left out if there are several seeds.
    """
    if len(results) == 1:
        return {'seed': seeds[0], **results[0]}
    results = [
        {key: value for key, value in result.items() if key != 'predicted_classes'} for result in results
    ]
    numbers = [key for key, value in results[0].items() if isinstance(value, float)]
    means = {key: float(np.mean([result[key] for result in results])) for key in numbers}
    deviation = {
        key: float(np.std([result[key] for result in results], ddof=1)) for key in numbers if key != 'floor'
    }
    return {'seeds': seeds, **results[0], **means, 'deviation': deviation, 'by_seed': results}
