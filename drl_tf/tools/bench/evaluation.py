"""Measures the parts of an evaluation: decoding JPEGs, extracting features, and the Fréchet distance."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from drl_tf.data import images
from drl_tf.evaluation.metrics import extractors
from drl_tf.evaluation.metrics.frechet import frechet_distance_from_moments
from drl_tf.evaluation.metrics.moments import Moments
from drl_tf.tools.bench import input_speed
from drl_tf.tools.bench.settings import Settings
from drl_tf.tools.bench.timing import in_turn, spread
from drl_tf.tools.photographs import encoded, photographs

_PICTURES = 32
_IMAGES = 100
_EXTRACTORS = ('digits_classifier', 'efficientnet_lite0')
# A function to time, and the number of images or features that one call handles; 0 if there are none.
Timed: TypeAlias = tuple[Callable[[], object], int]


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What to time in an evaluation: sizes for the Fréchet distance, and whether to time Inception.

    Attributes:
      features: number of feature vectors in each of the two sets.
      dimensions: number of dimensions of a feature vector.
      inception: directory of the Inception network as a SavedModel; '': it is not timed.
    """

    features: int = 50_000
    dimensions: int = 2048
    inception: str = ''


def lines(settings: Settings, scoring: Scoring) -> Iterator[dict[str, Any]]:
    """Times the parts of an evaluation, such as decoding pictures and the Fréchet distance.

    Args:
      settings: the settings of the benchmarks.
      scoring: sizes of the sets of features, and the directory of the Inception network.

    Yields:
      A dict for each part of an evaluation: 'part' (always 'evaluation'), 'name', and 'seconds' (a dict of
      'median', 'low', 'high' and 'count'). If the part handles images or features one by one, the dict also
      has 'per_s', their number per second.
    """
    functions = {**_pictures(), **_extractors(scoring.inception), **_frechet(scoring)}
    seconds = in_turn({name: function for name, (function, _) in functions.items()}, settings.rounds)
    for name, (_, count) in functions.items():
        found = spread(seconds[name])
        rate = {'per_s': count / found.median} if count else {}
        yield {'part': 'evaluation', 'name': name, 'seconds': dataclasses.asdict(found), **rate}


def _pictures() -> dict[str, Timed]:
    """Returns {description: (function, number of pictures)} for JPEGs of LSUN's size, on one thread."""
    files = [encoded(picture) for picture in photographs(_PICTURES)]
    found: dict[str, Timed] = {}
    decode = tf.function(lambda file: images.decode(file, 3))
    each_file = functools.partial(_each, decode, files)
    found['decode JPEGs whose shorter side has 256 px'] = (each_file, _PICTURES)
    decoded = [decode(file) for file in files]
    for size in (64, 128):
        data = input_speed.preset('lsun_church', size, 't6').data
        resize = tf.function(
            functools.partial(images.crop_and_resize, data=data),
            input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
        )
        each_picture = functools.partial(_each, resize, decoded)
        found[f'crop and resize them to {size} px'] = (each_picture, _PICTURES)
    return found


def _each(function: Callable[[Any], object], values: Iterable[Any]) -> list[object]:
    return [function(value) for value in values]


def _extractors(inception: str) -> dict[str, Timed]:
    """Returns {description: (function, number of images)} for each extractor that is installed."""
    found: dict[str, Timed] = {}
    random = np.random.default_rng(0)
    names = [*_EXTRACTORS, *(['inception'] if inception else [])]
    for name in names:
        grey = name == 'digits_classifier'
        data = input_speed.preset('digits' if grey else 'cifar10', 0, 't6').data
        size, channels = data.image_size, data.image_channels
        pixels = random.integers(0, 256, [_IMAGES, size, size, channels], np.uint8)
        run = extractors.load(data, name, inception if name == 'inception' else '').run
        found[f'features of {name}, images of {size} px'] = (functools.partial(run, pixels), _IMAGES)
    return found


def _frechet(scoring: Scoring) -> dict[str, Timed]:
    """Returns {description: (function, number of features)} for the two parts of the Fréchet distance."""
    random = np.random.default_rng(0)
    count, d = scoring.features, scoring.dimensions
    sets = [random.standard_normal([count, d], np.float32) for _ in range(2)]
    moments = [Moments.of(features) for features in sets]
    parts = [part for each in moments for part in (each.mean, each.covariance)]
    size = f'{count:,} x {d:,}'
    return {
        f'means and covariances of two sets of {size}': (
            lambda: [Moments.of(features) for features in sets],
            2 * count,
        ),
        f'Fréchet distance from the moments of {size}': (
            lambda: frechet_distance_from_moments(*parts),
            0,
        ),
    }
