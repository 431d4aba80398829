"""Which class the images of an expression show, as judged by the digits classifier."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import numpy as np

from drl_tf.base.files import write_json
from drl_tf.config.data_options import DIGITS
from drl_tf.evaluation.metrics import digits_classifier

if TYPE_CHECKING:
    from drl_tf.config.data_options import Data

_MOST = 4


def knows(data: Data) -> bool:
    """Returns whether the digits classifier knows images of a dataset: grey, square images of digits.

    Args:
      data: options of the dataset, with its image size and channels.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> grey = Config().replace(dataset='mnist', image_size=32, image_channels=1)
      >>> knows(grey.data), knows(grey.replace(image_channels=3).data)
      (True, False)
    """
    height, width, channels = data.image_shape
    return data.dataset in DIGITS and height == width and channels == 1


def judged(data: Data, expression: str, images: np.ndarray, path: str) -> dict[str, str]:
    """Classifies images that were drawn from an --expression, and writes how many show each class.

    Args:
      data: options of the dataset of the model that drew the images; the classifier knows digits only.
      expression: the value of --expression that the images were drawn from; it is written to the file.
      images: uint8 [n, H, W, C].
      path: the JSON file to write, with the expression, the number of images, and these entries:
        'shares' is {class: share of the images for which the classifier finds this class most probable}.
        'shares_of_two' is {two classes, such as '3 8': share of the images with these two classes as the
        two most probable ones}.

    Returns:
      Lines to print, {label: text}: the largest shares, and the path. {} if the classifier does not know such
      images, because they are not digits, not square or not grey; no file is written then.
    """
    if not knows(data):
        return {}
    probabilities = digits_classifier.predict(images)
    first, two = (_class_shares(probabilities, number) for number in (1, 2))
    counted = {'expression': expression, 'count': len(images), 'shares': first, 'shares_of_two': two}
    write_json(path, counted)
    return {'judged as': _text(first), 'two most probable': _text(two), 'class shares': path}


def _text(shares: dict[str, float]) -> str:
    return ', '.join(f'{classes}: {share:.1%}' for classes, share in list(shares.items())[:_MOST])


def _class_shares(probabilities: np.ndarray, number: int = 1) -> dict[str, float]:
    """Returns how often each set of `number` classes is an image's most probable one, most frequent first.

    Examples:
      >>> probabilities = np.array([[0.7, 0.2, 0.1], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0], [0.1, 0.6, 0.3]])
      >>> _class_shares(probabilities), _class_shares(probabilities, 2)
      ({'1': 0.75, '0': 0.25}, {'0 1': 0.75, '1 2': 0.25})
    """
    classes = np.sort(np.argsort(probabilities, axis=1)[:, -number:], axis=1)
    counts = collections.Counter(' '.join(map(str, row)) for row in classes.tolist())
    return {name: count / len(classes) for name, count in counts.most_common()}
