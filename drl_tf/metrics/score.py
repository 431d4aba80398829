"""Scores of a set of generated images."""

import numpy as np
from absl import logging

from drl_tf.errors import UserError
from drl_tf.metrics import digits_classifier
from drl_tf.metrics.frechet import frechet_distance


def digits_frechet(samples, train, held_out, labels=None):
    """How far generated digits are from real ones, in the features of the digits classifier.

    The number is no FID: that has Inception's features of 50,000 images. It compares only with numbers of the same extractor,
    image size, sample size and real digits, and with its floor, which a perfect generator of as many samples as there are
    held-out digits has.

    Args:
      samples: generated digits, uint8 [n, H, H, 1].
      train: the real digits, uint8 [N, H, H, 1].
      held_out: real digits not among `train`, uint8 [M, H, H, 1].
      labels: what digit each sample should be, int [n]; None where that is open.

    Returns:
      dict, ready for JSON: 'frechet_distance_digits_classifier' (samples against train), 'floor' (held-out against train), with
      at least M samples 'frechet_distance_held_out_size' (the mean of M samples at a time, which compares with the floor),
      'num_samples', 'num_real', 'num_held_out', 'image_size', 'predicted_classes' (the share of samples taken for each of the
      ten digits), with `labels` 'class_agreement' (the share taken for the digit asked for), 'extractor', 'extractor_hash',
      'resize', and 'warning' (a sentence, or None).

    Raises:
      UserError: the images are not grey, square, uint8 and all of one size, or a set has fewer than 2.
    """
    shapes = [np.shape(images)[1:] for images in (samples, train, held_out)]
    if len(set(shapes)) > 1:
        raise UserError(f'generated, training and held-out images must be of one shape, not {shapes}')
    real, fake = digits_classifier.features(train), digits_classifier.features(samples)
    size = len(held_out)
    parts = [frechet_distance(real, fake[first : first + size]) for first in range(0, len(fake) - size + 1, size)]
    classes = digits_classifier.predict(samples).argmax(axis=1)
    return {
        'frechet_distance_digits_classifier': frechet_distance(real, fake),
        'floor': frechet_distance(real, digits_classifier.features(held_out)),
        **({'frechet_distance_held_out_size': float(np.mean(parts))} if parts else {}),
        'num_samples': len(samples),
        'num_real': len(train),
        'num_held_out': len(held_out),
        'image_size': shapes[0][0],
        'predicted_classes': (np.bincount(classes, minlength=digits_classifier.NUM_CLASSES) / len(samples)).tolist(),
        **({} if labels is None else {'class_agreement': float(np.mean(classes == labels))}),
        'extractor': 'digits_classifier',
        'extractor_hash': digits_classifier.weights_hash(),
        'resize': digits_classifier.RESIZE,
        'warning': _warning(len(samples)),
    }


def _warning(num_samples):
    """Says, and logs, that the samples are too few for the covariance of their features to have full rank; else None."""
    if num_samples > digits_classifier.NUM_FEATURES:
        return None
    warning = f'{num_samples} samples are no more than the {digits_classifier.NUM_FEATURES} features: the distance is mostly bias'
    logging.warning(warning)
    return warning
