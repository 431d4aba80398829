"""Scores of a set of generated images."""

import numpy as np
from absl import logging

from drl_tf.evaluation.metrics.frechet import frechet_distance_from_moments
from drl_tf.evaluation.metrics.inception_score import classifier_score
from drl_tf.evaluation.metrics.kernel import kernel_distance
from drl_tf.evaluation.metrics.moments import Moments
from drl_tf.evaluation.metrics.neighbours import neighbour_scores
from drl_tf.evaluation.metrics.statistics import summarise

KEPT_FEATURES = 10_000
_PARTS = 4
_FEWEST = 20


def names(extractor):
    """What scores are called in the features of a network.

    Returns:
      dict with the keys 'frechet', 'kernel' and 'classifier': the standard Inception has FID, KID and
        Inception score.
    """
    if extractor.inception == 'standard':
        return {'frechet': 'fid', 'kernel': 'kid', 'classifier': 'inception_score'}
    of = extractor.name
    return {
        'frechet': f'frechet_distance_{of}',
        'kernel': f'kernel_distance_{of}',
        'classifier': f'classifier_score_{of}',
    }


def score(extractor, samples, real, floor=None, labels=None, part=None):
    """How far generated images are from real ones.

    Numbers compare only with those of the same extractor and weights, image size, number of samples and real
    images.

    Args:
      extractor: an `extractors.Extractor`.
      samples: iterable of generated images, uint8 [n, H, W, C].
      real: the `Statistics` of the real images.
      floor: `Statistics` of real images that are not among those, with their features, or None: what a
        perfect generator of as many samples would get.
      labels: the class that each sample should have, int [n]; None where that is open or the extractor knows
        no such classes.
      part: as in `statistics.summarise`, of the samples.

    Returns:
      dict, ready for JSON. By the names of `names`: the Fréchet distance; its 'floor' and, with at least as
      many samples as the floor has images, '<name>_held_out_size', the mean over at most 4 parts of that
      size, which compares with the floor; where features of the real images are kept, the kernel distance and
      its '_error', 'precision' and 'recall' (k = 3), 'density' and 'coverage' (k = 5), in at most 10,000
      features on either side; where the extractor classifies, the classifier score and its '_deviation' over
      10 splits and, where its classes are those of the images, 'predicted_classes' (the share of samples
      taken for each) and, with `labels`, 'class_agreement'. Then 'num_samples', 'num_real', 'num_held_out',
      'extractor', 'extractor_hash', 'resize', 'real' (what the real images are) and 'warning' (a sentence, or
      None).

    Raises:
      UserError: there are fewer than 2 samples, or a feature is not finite.
    """
    name, held_out = names(extractor), floor.count if floor else 0
    fake, logits = summarise(
        extractor, samples, 'the samples', max(KEPT_FEATURES, _PARTS * held_out), True, part
    )
    result = {name['frechet']: _frechet(real, fake)}
    if floor:
        result['floor'] = _frechet(real, floor)
        ends = range(held_out, min(fake.count, _PARTS * held_out) + 1, held_out)
        parts = [_frechet(real, Moments.of(fake.features[end - held_out : end])) for end in ends]
        result |= {f'{name["frechet"]}_held_out_size': float(np.mean(parts))} if parts else {}
    if min(len(real.features), fake.count) >= _FEWEST:
        result |= _of_features(name, real.features[:KEPT_FEATURES], fake.features[:KEPT_FEATURES])
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


def _frechet(real, fake):
    return frechet_distance_from_moments(real.mean, real.covariance, fake.mean, fake.covariance)


def _of_features(name, real, fake):
    """Scores that need the features themselves."""
    distance, error = kernel_distance(real, fake)
    return {name['kernel']: distance, f'{name["kernel"]}_error': error, **neighbour_scores(real, fake)}


def _of_logits(name, logits, labels, datasets):
    """Scores that need classes."""
    result, classes = {}, logits.argmax(axis=1)
    if len(logits) >= _FEWEST:
        mean, deviation = classifier_score(logits)
        result |= {name['classifier']: mean, f'{name["classifier"]}_deviation': deviation}
    if datasets:
        result['predicted_classes'] = (np.bincount(classes, minlength=logits.shape[1]) / len(logits)).tolist()
    if labels is not None:
        result['class_agreement'] = float(np.mean(classes == labels))
    return result


def _warning(count, dimensions):
    """Says, and logs, that there are too few images for the covariance of their features to have full rank;
    else None."""
    if count > dimensions:
        return None
    warning = f'{count} images are no more than the {dimensions} features: the distance is mostly bias'
    logging.warning(warning)
    return warning
