"""Computes all scores of a set of generated images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from drl_tf.data.indexed import random_places
from drl_tf.evaluation.metrics.frechet import frechet_distance_from_moments
from drl_tf.evaluation.metrics.inception_score import classifier_score
from drl_tf.evaluation.metrics.kernel import kernel_distance
from drl_tf.evaluation.metrics.moments import Moments
from drl_tf.evaluation.metrics.neighbours import neighbour_scores
from drl_tf.evaluation.metrics.statistics import summarise

if TYPE_CHECKING:
    from drl_tf.evaluation.metrics.extractors import Extractor
    from drl_tf.evaluation.metrics.statistics import Statistics
KEPT_FEATURES = 10_000
_PARTS = 4  # At most this many parts are compared with the floor.
_FEWEST = 20  # Scores other than the Fréchet distance need this many images.


def names(extractor: Extractor) -> dict[str, str]:
    """Returns the keys under which `score` stores three of its scores; the keys depend on the network.

    Args:
      extractor: the network that computes features.

    Returns:
      {'frechet': key of the Fréchet distance, 'kernel': key of the kernel distance, 'classifier': key of the
      classifier score}. The keys are 'fid', 'kid' and 'inception_score' for the standard Inception network.
      For other networks, they contain its name, such as 'frechet_distance_digits_classifier'.
    """
    if extractor.inception == 'standard':
        return {'frechet': 'fid', 'kernel': 'kid', 'classifier': 'inception_score'}
    return {
        'frechet': f'frechet_distance_{extractor.name}',
        'kernel': f'kernel_distance_{extractor.name}',
        'classifier': f'classifier_score_{extractor.name}',
    }


def score(
    extractor: Extractor,
    samples: Iterable[np.ndarray],
    real: Statistics,
    floor: Statistics | None = None,
    labels: np.ndarray | None = None,
    part: str | None = None,
    total: int = 0,
) -> dict[str, Any]:
    """Scores how close generated images are to real images.

    Scores are comparable only for the same extractor, image size, number of samples and real images.

    Args:
      extractor: the network that gives the features.
      samples: batches of generated images, uint8 [n, H, W, C] each.
      real: statistics of the real images.
      floor: statistics of held-out real images, or None. Their distance from the real images is what a
        perfect generator would reach with as many samples.
      labels: the class that each sample was drawn for, int [n]; None if the samples have no classes, or the
        extractor does not predict them.
      part: a file for intermediate results, from which an interrupted call continues; None: no file.
      total: number of samples, if they may be ordered by class; parts of them are then chosen at random. 0:
        parts follow each other, and scores that use at most 10,000 images take the first.

    Returns:
      {name: JSON value}. The function `names` returns the three keys that are called <frechet>, <kernel> and
      <classifier> here, such as 'fid' for <frechet>.

      - <frechet>: the Fréchet distance of the samples from the real images.
      - With `floor`: 'floor', the Fréchet distance of the held-out images from the real images. Distances
        are comparable only for equal numbers of images. So at most 4 parts of the samples, each with as many
        images as are held out, are compared with the real images too. '<frechet>_held_out_size' is the mean
        of their Fréchet distances; it is missing if there are fewer samples than held-out images.
      - If `real` has features of at least 20 images, and there are at least 20 samples: <kernel>, the kernel
        distance; '<kernel>_error', its standard error; and 'precision', 'recall', 'density' and 'coverage'.
        They use at most 10,000 images of either set, of the real ones random ones.
      - If the extractor gives logits, and there are at least 20 samples: <classifier>, the classifier score;
        and '<classifier>_deviation', its standard deviation over 10 splits. If the extractor predicts the
        classes of the dataset: 'predicted_classes', the share of samples in each class. With `labels`:
        'class_agreement', the share of samples that are classified as their label.
      - 'num_samples', 'num_real', 'num_held_out', 'extractor', 'extractor_hash', 'resize', 'real' (a
        description of the real images) and 'warning' (a sentence if there are too few images for the
        Fréchet distance, else None).

    Raises:
      UserError: there are fewer than 2 samples, or a feature is not finite.
    """
    name = names(extractor)
    held_out = floor.count if floor else 0
    keep = max(KEPT_FEATURES, _PARTS * held_out)
    fake, logits = summarise(extractor, samples, 'the samples', keep, True, part, total)
    result: dict[str, Any] = {name['frechet']: _frechet(real, fake)}
    if floor:
        result['floor'] = _frechet(real, floor)
        ends = range(held_out, min(fake.count, _PARTS * held_out) + 1, held_out)
        features = np.random.default_rng(0).permutation(fake.features) if total else fake.features
        parts = [_frechet(real, Moments.of(features[end - held_out : end])) for end in ends]
        if parts:
            result[f'{name["frechet"]}_held_out_size'] = float(np.mean(parts))
    if min(len(real.features), fake.count) >= _FEWEST:
        few = random_places(KEPT_FEATURES, len(fake.features)) if total else slice(KEPT_FEATURES)
        of_real = real.features[random_places(KEPT_FEATURES, len(real.features))]
        result |= _of_features(name, of_real, fake.features[few])
    if logits is not None:
        result |= _of_logits(name, logits, labels, extractor.datasets)
    return {
        **result,
        'num_samples': fake.count,
        'num_real': real.count,
        'num_held_out': held_out,
        'extractor': extractor.name,
        'extractor_hash': extractor.weights_hash,
        'resize': extractor.resize,
        'real': real.images,
        'warning': _warning(min(fake.count, real.count), len(real.mean)),
    }


def _frechet(real: Statistics, fake: Statistics | Moments) -> float:
    return frechet_distance_from_moments(real.mean, real.covariance, fake.mean, fake.covariance)


def _of_features(name: dict[str, str], real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Computes the scores that need the features themselves."""
    distance, error = kernel_distance(real, fake)
    return {name['kernel']: distance, f'{name["kernel"]}_error': error, **neighbour_scores(real, fake)}


def _of_logits(
    name: dict[str, str], logits: np.ndarray, labels: np.ndarray | None, datasets: Sequence[str]
) -> dict[str, Any]:
    """Computes the scores that need logits."""
    result: dict[str, Any] = {}
    classes = logits.argmax(axis=1)
    if len(logits) >= _FEWEST:
        mean, deviation = classifier_score(logits)
        result |= {name['classifier']: mean, f'{name["classifier"]}_deviation': deviation}
    if datasets:
        result['predicted_classes'] = (np.bincount(classes, minlength=logits.shape[1]) / len(logits)).tolist()
    if labels is not None:
        result['class_agreement'] = float(np.mean(classes == labels))
    return result


def _warning(count: int, dimensions: int) -> str | None:
    """Logs and returns a warning if there are too few images for a covariance of full rank; else None."""
    if count > dimensions:
        return None
    warning = f'{count} images are no more than the {dimensions} features: the distance is mostly bias'
    logging.warning(warning)
    return warning
