"""What the app does with a model, as functions that need no browser."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from drl_tf.api import EnergyModel
from drl_tf.app import limits
from drl_tf.base import arguments
from drl_tf.base.errors import UserError
from drl_tf.core import noise, pilot
from drl_tf.core.guidance import composed, fed, network_labels
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.editing import compose as composing
from drl_tf.editing import expressions
from drl_tf.editing.class_heights import class_heights
from drl_tf.runs import pictures
from drl_tf.runs.inputs import finite
from drl_tf.runs.scores import Scores

# Callable, (share that is done, 0 to 1; what is being done); it raises UserError to end the work.
Progress = Callable[[float, str], None]
_HEIGHTS: weakref.WeakKeyDictionary[EnergyModel, dict[int, np.ndarray]] = weakref.WeakKeyDictionary()
IN_TURN = -2  # Value of `Choice.label`: the images take all classes in turn.


def _silent(share: float, what: str) -> None:
    """Ignores progress: a callable (share of the work done, 0 to 1; what is being done) that does nothing."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which images to draw: class, guidance, seed and number.

    Attributes:
      label: the class, from 0; -1: no class; `IN_TURN`, a constant of this module: all classes in turn.
      guidance: weight w of the class, -1 to 20; 0 for models without classes. If F(c) is the model's log
        density of class c, images are drawn from the log density (1 + w) F(class) - w F(no class).
      seed: 0 to 2^31 - 1.
      num: number of images, at least 1. Only the function `blend` takes it as the index of one image, from 0.
      num_steps: number of noise levels on the way from noise to image; None: the model's default.
    """

    label: int = IN_TURN
    guidance: float = 0.0
    seed: int = 0
    num: int = 4
    num_steps: int | None = None

    def labels(self, model: EnergyModel) -> int | None:
        """Returns the value to pass as `labels` to `generate` and `inpaint` of a model.

        Args:
          model: the model.

        Returns:
          The class, or -1 for no class; None for a model without classes, and for `IN_TURN`. With
          labels=None, `generate` takes all classes in turn, and `inpaint` takes no class.
        """
        return None if self.label == IN_TURN or not model.num_classes else self.label


class _Parts(keras.callbacks.Callback):
    """Shows progress, and keeps the noisy images after each part of the way through the levels."""

    def __init__(self, progress: Progress):
        super().__init__()
        self.states: list[np.ndarray] = []
        self._progress = progress

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.states.append(pictures.kept(logs['outputs']))
        self._progress((batch + 1) / self.params['steps'], 'drawing')


def draw(
    model: EnergyModel, choice: Choice, progress: Progress = _silent
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draws images, and keeps the noisy images on the way.

    Args:
      model: the model.
      choice: which images; `num` is at most `most_images(model)`.
      progress: callable that gets the share of the work done, 0 to 1, and what is being done; it may raise
        UserError to end the work.

    Returns:
      A pair: the images, uint8 [n, H, W, C] (points of the plane: float32); and a list of arrays of this
      shape, which show the images on their way from noise. The last array is the finished images.

    Raises:
      UserError: a value is out of range, or `progress` ended the work.

    Examples:
      >>> images, states = draw(EnergyModel.from_preset('digits'), Choice(label=3, num=2))
      >>> images.shape, len(states)
      ((2, 16, 16, 1), 7)
    """
    num = arguments.number('images', choice.num, 1, most_images(model))
    progress(0, 'drawing')
    parts = _Parts(progress)
    options: dict[str, Any] = {'guidance': choice.guidance, 'seed': choice.seed, 'callbacks': [parts]}
    images = model.generate(num, choice.labels(model), num_steps=choice.num_steps, **options)
    return images, [*parts.states, images]


def most_images(model: EnergyModel) -> int:
    """Returns the largest number of images that one request may draw.

    For a model of images, this is 25, or the model's option `sample_batch_size` if that is smaller. For a
    model of points in the plane, it is the value of this option.

    Examples:
      >>> most_images(EnergyModel.from_preset('digits'))
      25
    """
    size = model.config.sampling.sample_batch_size
    return size if model.config.planar else min(size, limits.MOST_IMAGES)


def inpaint(
    model: EnergyModel, image: np.ndarray, hole: np.ndarray, choice: Choice, progress: Progress = _silent
) -> np.ndarray:
    """Draws several results of inpainting an image.

    Args:
      model: the model.
      image: uint8 [H, W, C].
      hole: True at the pixels to replace, bool [H, W, 1].
      choice: number of results (`num`, at most 9), class (`IN_TURN`: no class), guidance and seed.
      progress: callable that gets the share of the work done, 0 to 1, and what is being done; it may raise
        UserError to end the work.

    Returns:
      The results, uint8 [num, H, W, C].

    Raises:
      UserError: a value is out of range; the model draws points or has batch normalisation; or `progress`
        ended the work.

    Examples:
      >>> digits = EnergyModel.from_preset('digits')
      >>> image = digits.generate(1)[0]
      >>> lower_half = np.arange(16)[:, None, None] >= 8
      >>> inpaint(digits, image, lower_half, Choice(num=2)).shape
      (2, 16, 16, 1)
    """
    num = arguments.number('results', choice.num, 1, limits.MOST_RESULTS)
    seed = arguments.number('seed', choice.seed, 0, arguments.LARGEST - num)
    found = []
    for index in range(num):
        progress(index / num, f'result {index + 1} of {num}')
        labels = choice.labels(model)
        found.append(model.inpaint(image[None], hole, seed + index, labels, choice.guidance))
    return np.concatenate(found)


def blend(
    model: EnergyModel, begin: Choice, end: Choice, num_frames: int, progress: Progress = _silent
) -> np.ndarray:
    """Draws a sequence of images that changes step by step from one sample of the model to another.

    Args:
      model: the model.
      begin: the first sample. Its `label` is the class (`IN_TURN`: no class). Its `num` is an index from 0,
        not a number of images: it tells which of the images drawn with this seed is meant. `seed` and
        `guidance` apply to all frames.
      end: the last sample, by its class `label` and its index `num`; its `seed` and `guidance` are ignored.
      num_frames: number of images, 2 to 25.
      progress: callable that gets the share of the work done, 0 to 1, and what is being done; it may raise
        UserError to end the work.

    Returns:
      The images in order, uint8 [num_frames, H, W, C].

    Raises:
      UserError: a value is out of range, or `progress` ended the work.

    Examples:
      >>> digits = EnergyModel.from_preset('digits')
      >>> blend(digits, Choice(label=3, num=0), Choice(label=8, num=1), num_frames=3).shape
      (3, 16, 16, 1)
    """
    n = arguments.number('frames', num_frames, 2, limits.MOST_IMAGES)
    progress(0, 'drawing')
    labels = [max(choice.label, -1) for choice in (begin, end)] if model.num_classes else None
    ends = (begin.num, end.num)
    return model.interpolate(*ends, n, begin.seed, labels, begin.guidance, [_Parts(progress)])


def compose(
    model: EnergyModel, text: str, num: int = 4, seed: int = 0, progress: Progress = _silent
) -> np.ndarray:
    """Draws images from a combination of classes, such as '3 & !8' (3 and not 8).

    Args:
      model: a model with classes. Expressions with | need a model trained with --energy=preconditioned.
      text: the expression, at most 200 characters: classes (numbers), & (and), | (or), ! (not) and brackets.
      num: number of images, 1 to 25.
      seed: 0 to 2^31 - 1.
      progress: callable that gets the share of the work done, 0 to 1, and what is being done; it may raise
        UserError to end the work.

    Returns:
      The images, uint8 [num, H, W, C].

    Raises:
      UserError: the expression is not understood, the model does not allow it, or `progress` ended the work.

    Examples:
      >>> compose(EnergyModel.from_preset('digits'), '3 & !8', num=2).shape
      (2, 16, 16, 1)
    """
    if len(text) > limits.MOST_LETTERS:
        raise UserError(f'the expression has {len(text)} letters: give at most {limits.MOST_LETTERS}')
    num = arguments.number('images', num, 1, limits.MOST_IMAGES)
    seed = arguments.number('seed', seed, 0)
    with arguments.named(expression='expression', energy='energy'):
        expressions.check(text, model.config)
    weights = expressions.weights(expressions.parse(text))
    if weights is None:
        heights = _heights(model, progress)
        progress(0.5, 'drawing all images at once')
        return composing.drawn(model.model, expressions.parse(text), heights, num, Weights.EMA, seed)
    progress(0, 'drawing')
    size = min(num, model.config.sampling.sample_batch_size)
    batches = -(-num // size)
    done = [0.0]

    def after_part(share: float) -> None:
        done.append(done[-1] + share / batches)
        progress(done[-1], 'drawing')

    labels = [tf.fill([size], network_labels(label)) for label in weights]
    terms = fed(composed(labels, list(weights.values())))
    root = tf.constant(noise.root(seed, noise.SAMPLING))
    q = pilot.steps(model.model, Weights.EMA, model.model.walk)
    drawn = []
    for first in range(0, num, size):
        draw = Draw(tf.constant(first), Weights.EMA, terms, q)
        drawn.append(model.model.sample(tf.constant(size), root, draw, after_part=after_part)[-1].numpy())
    return pictures.kept(finite(np.concatenate(drawn)[:num]))


def _heights(model: EnergyModel, progress: Progress) -> dict[int, np.ndarray]:
    """Returns `class_heights` of all classes, which are measured once per model."""
    if model not in _HEIGHTS:

        def show(share: float) -> None:
            progress(share / 2, 'measuring the height of each class, once per model')

        show(0.0)
        labels = list(range(model.num_classes))
        _HEIGHTS[model] = class_heights(model.model, labels, Weights.EMA, after_level=show)
    return _HEIGHTS[model]


def score(
    model: EnergyModel, images: np.ndarray, progress: Progress = _silent
) -> tuple[Scores, np.ndarray | None]:
    """Scores images: energies, gradients and, if log Z is known, log densities and typicality.

    Args:
      model: the model; it knows log Z if its attribute `heights` is not None.
      images: uint8 [n, H, W, C].
      progress: callable that gets the share of the work done, 0 to 1, and what is being done; it may raise
        UserError to end the work.

    Returns:
      A pair: the scores of the n images; and the typicality, float32 [n], or None if log Z is not known. The
      typicality of an image is the distance of its log density from the mean over training images, in
      standard deviations.

    Raises:
      UserError: there is no image, or `progress` ended the work.

    Examples:
      >>> digits = EnergyModel.from_preset('digits')
      >>> scores, typicality = score(digits, digits.generate(2))
      >>> scores.total_map.shape, typicality.shape
      ((2, 16, 16), (2,))
    """
    parts = []
    typical = []
    for index in range(len(images)):
        progress(index / len(images), f'image {index + 1} of {len(images)}')
        parts.append(model.anomaly_scores(images[index : index + 1]))
        if model.heights is not None:
            typical.append(model.typicality(images[index : index + 1]))
    if not parts:
        raise UserError('there is no picture: drop some, or score images that the model draws')
    return Scores.joined(parts), np.concatenate(typical) if typical else None
