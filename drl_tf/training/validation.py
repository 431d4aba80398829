"""Validation on held-out images after each epoch of `EnergyModel.fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base import arguments
from drl_tf.base.errors import UserError
from drl_tf.data.indexed import random_places
from drl_tf.evaluation.evaluator import load_extractor
from drl_tf.evaluation.metrics.kernel import kernel_distance
from drl_tf.runs import pictures

if TYPE_CHECKING:
    from drl_tf.runs.generating import Generating
    from drl_tf.training.given_data import GivenData

_FEWEST = 20
_MOST_SAMPLES = 1000
Labelled = tuple[np.ndarray, np.ndarray | None]


class Validation(keras.callbacks.Callback):
    """Keras callback that scores the model on held-out images every few epochs, and adds the scores to logs.

    All scores use the averaged weights:

    - 'val_energy': the mean energy of the held-out images.
    - 'val_energy_gap': 'val_energy' minus the mean energy of training images; it rises if the model
      overfits.
    - 'val_distance': the kernel distance (KID) between features of at most 1,000 held-out images, random
      ones, and of as many samples. It is left out if there are fewer than 20 held-out images.

    The features come from the network that `--mode=evaluate` uses. If this network is not available, the
    constructor logs a warning, and 'val_distance' is left out. If the data are points of the plane instead of
    images (the toy datasets), the features are the coordinates.

    Args:
      model: the `EnergyModel` in training.
      held_out: pair of images, float32 [n, H, W, C] in [-1, 1], and their classes, int32 [n]; the classes are
        None for a model without classes.
      seen: pair of training images and their classes, in the form of `held_out`; for 'val_energy_gap'.
      every: number of epochs from one validation to the next.
    """

    def __init__(self, model: Generating, held_out: Labelled, seen: Labelled, every: int):
        super().__init__()
        self.public = model
        self.held_out = held_out
        self.seen = seen
        self.every = every
        self._features = _features(model.config) if len(held_out[0]) >= _FEWEST else None
        if self._features:
            self._places = random_places(_MOST_SAMPLES, len(held_out[0]))
            self._real = self._features(pictures.kept(held_out[0][self._places]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every:
            return
        self.public.forget_steps()
        with self.public.model.ema_network.converged():
            held_out, seen = (
                float(self.public.energy(images, labels=labels).mean())
                for images, labels in (self.held_out, self.seen)
            )
            logs.update(val_energy=held_out, val_energy_gap=held_out - seen)
            if self._features:
                labels = self.held_out[1]
                labels = None if labels is None else labels[self._places]
                samples = self.public.generate(len(self._real), labels)
                logs['val_distance'] = kernel_distance(self._real, self._features(samples))[0]


def some(data: GivenData, count: int) -> tf.data.Dataset:
    """Returns `count` training images: random ones of arrays, the first ones of the user's `tf.data.Dataset`.

    The user decides the order of a dataset, which may have no end.

    Args:
      data: the images that the user gave to train on.
      count: number of images; all if there are fewer.

    Returns:
      Dataset of single images, or of pairs (image, label), as in `data.images`.
    """
    if not data.shuffled or data.count is None:
        return data.images.take(count)
    is_chosen = np.isin(np.arange(data.count), random_places(count, data.count))
    places = tf.data.Dataset.from_tensor_slices(is_chosen)
    return tf.data.Dataset.zip(data.images, places).filter(lambda _, chosen: chosen).map(lambda each, _: each)


class PublicCallbacks(keras.callbacks.CallbackList):
    """Keras callback that runs the user's callbacks with the public `drl_tf.EnergyModel` as their `model`.

    Without it, Keras would set their `model` to the inner model that is trained, which users do not know. At
    the end of an epoch, the user's callbacks can sample from the public model and save it.

    Args:
      callbacks: one Keras callback of the user, or a sequence of them.
      model: the public `EnergyModel`.
    """

    def __init__(
        self, callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback], model: keras.Model
    ):
        self.public = model
        model.stop_training = False
        super().__init__(keras.tree.flatten(callbacks), model=model)  # Keras runs a bare one in a thread.

    def set_model(self, model: keras.Model) -> None:
        self.fitted = model
        super().set_model(self.public)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(batch, logs)
        self.fitted.stop_training |= self.public.stop_training

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.public.forget_steps()
        with self.fitted.ema_network.converged():
            for callback in self.callbacks:
                callback.on_epoch_end(epoch, logs)  # Keras' CallbackList would pass a copy of the logs.
        self.fitted.stop_training |= self.public.stop_training


def _features(config: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """Returns a callable, images -> features [n, d]; None, with a warning, if there is no extractor."""
    if config.planar:
        return lambda points: points.reshape(len(points), -1)
    try:
        with arguments.named():
            extractor = load_extractor(config)
    except UserError as error:
        logging.warning('validation has no val_distance: %s', error)
        return None
    return lambda images: extractor.run(images)[0]
