"""Which class the images of an expression show, as judged by the digits classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drl_tf.base.files import write_json
from drl_tf.config.options import DIGITS
from drl_tf.evaluation.metrics import digits_classifier

if TYPE_CHECKING:
    from drl_tf.config.options import Data

_MOST = 4


def judged(data: Data, expression: str, images: np.ndarray, path: str) -> dict[str, str]:
    """Counts the classes that images show, and writes their shares as JSON.

    Args:
      data: options of the dataset of the model.
      expression: the value of --expression, for the file.
      images: uint8 [n, H, W, C].
      path: the JSON file: the expression, the number of images, and {class: share}.

    Returns:
      {label: text} for the command line: the most frequent classes, and the path. {} for other datasets than
      digits, whose classes no classifier of the package knows.
    """
    if data.dataset not in DIGITS or images.shape[1] != images.shape[2]:
        return {}
    shares = class_shares(digits_classifier.predict(images))
    write_json(path, {'expression': expression, 'count': len(images), 'shares': shares})
    common = sorted(shares.items(), key=lambda item: -item[1])[:_MOST]
    text = ', '.join(f'{name}: {share:.1%}' for name, share in common if share)
    return {'judged as': text, 'class shares': path}


def class_shares(probabilities: np.ndarray) -> dict[str, float]:
    """Returns the share of images by their most probable class.

    Args:
      probabilities: float [n, classes].

    Examples:
      >>> class_shares(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]))
      {'0': 0.25, '1': 0.75}
    """
    classes = probabilities.argmax(axis=1)
    counts = np.bincount(classes, minlength=probabilities.shape[1])
    return {str(label): float(count) / len(classes) for label, count in enumerate(counts)}
