"""A trained model in Python: `drl_tf.load` gives a `Model` that samples, scores, denoises, trains, exports.

Images are uint8, or floats in [-1, 1] (`x / 127.5 - 1`), [n, H, W, C]; points of the plane are floats, [n, 1,
1, 2]. The methods return NumPy arrays.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from drl_tf.base import arguments
from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.core.build_model import build_model
from drl_tf.core.guidance import network_labels
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.distributed import devices
from drl_tf.editing.methods import Editing
from drl_tf.evaluation.detectors import detectors
from drl_tf.runs import checkpoint, exported, pictures
from drl_tf.runs.heights import Heights
from drl_tf.runs.inputs import finite
from drl_tf.serving import export, provenance
from drl_tf.training.fitting import Fitting

_MOST_IMAGES = 2**30


def load(model: str | os.PathLike, precision: str = 'float32') -> 'Model':
    """Loads a trained model; documented at `drl_tf.load`."""
    path = arguments.path('model', model, 'a path, or the name of a model')
    with arguments.named(workdir='model'):
        directory = exported.readable(path, 'model')
        is_export = exported.source(directory) == directory
        config = exported.load_config(directory) if is_export else configuration.load(directory)
        config = config.replace(precision=devices.resolve_precision(precision))
        loaded, step = checkpoint.load_model(directory, config)
        known = provenance.history(directory, step, 'ema')
        return Model(loaded, step, {name: known[name] for name in provenance.BEGINNING})


class Model(Editing):
    """A trained model, which samples and scores with its averaged weights.

    Args:
      model: a `RecoveryLikelihood` with converged averages.
      step: number of steps that the model was trained.
      beginning: result of `provenance.beginning`: where the weights come from.

    Attributes:
      model: the Keras model.
      step: number of steps that the model was trained, an int.
    """

    def __init__(
        self, model: RecoveryLikelihood, step: int, beginning: Mapping[str, Any] = provenance.BEGINNING
    ):
        super().__init__(model, beginning['heights'])
        self.step = step
        self._beginning = beginning
        self._function_of = functools.cache(
            lambda function: tf.function(function.python_function, autograph=False, reduce_retracing=True)
        )
        self._fitting = Fitting(model)

    def sample(
        self,
        num_samples: int = 16,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float | None = None,
        first: int = 0,
    ) -> np.ndarray:
        """Draws images.

        Args:
          num_samples: n, the number of images, at least 1.
          seed: 0 to 2^31 - 1. Image i depends only on (seed, first + i), except that rounding may change a
            pixel by one grey level.
          labels: one class for all images, or one per image ([n]); classes count from 0, -1 means no class.
            None: the images take all classes in turn.
          guidance: w in F = (1 + w) F(class) - w F(no class), -1 to 20. None: `guidance` of the
            configuration.
          first: index of the first image.

        Returns:
          uint8 [n, H, W, C]; for toy datasets points of the plane, float32 [n, 1, 1, 2].

        Raises:
          UserError: an argument is out of range, or the samples are not finite.

        Examples:
          >>> drl_tf.load('digits').sample(2, labels=3, guidance=0.5).shape
          (2, 16, 16, 1)
        """
        n = arguments.number('num_samples', num_samples, 1, _MOST_IMAGES)
        seed = self._inputs.seed(seed)
        size = min(n, self.config.sampling.sample_batch_size)
        first = arguments.number('first', first, 0, arguments.LARGEST - -(-n // size) * size)
        if labels is None and self.num_classes:
            labels = np.arange(first, first + n) % self.num_classes
        guidance = self.config.sampling.guidance if guidance is None else guidance
        labels = self._inputs.labels(labels, n)
        q = self._corrector_steps(self.model.walk)
        drawn = []
        for start in range(0, n, size):
            part = None if labels is None else np.resize(labels[start : start + size], size)
            terms = self._inputs.terms(part, size, guidance)
            begin = tf.constant(first + start)
            states = self.model.sample(
                tf.constant(size), seed, begin, terms=terms, run=self._run, corrector_steps=q
            )
            drawn.append(states[-1].numpy()[: n - start])
        return pictures.kept(finite(np.concatenate(drawn)))

    def denoise(
        self,
        images: ArrayLike,
        level: ArrayLike = 0,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
    ) -> np.ndarray:
        """Draws x_t given x_{t+1}, by the chains of the configuration (`corrector`, `mcmc_steps`).

        Args:
          images: x_{t+1} = A_{t+1} x + S_{t+1} eps, float [n, H, W, C]; or uint8, which is scaled to [-1, 1].
          level: one t for all images, or one per image ([n]), 0 to T - 1.
          seed: 0 to 2^31 - 1; x_t of image i depends on (seed, i) and x_{t+1} of image i alone.
          labels, guidance: see `energy`.

        Returns:
          x_t, float32 [n, H, W, C].

        Raises:
          UserError: an argument has a wrong shape or is out of range, or the images are not finite.

        Examples:
          >>> drl_tf.load('digits').denoise(np.zeros([2, 16, 16, 1])).dtype
          dtype('float32')
        """
        x_next = self._inputs.images(images)
        level = self._inputs.level(level, len(x_next))
        seed = self._inputs.seed(seed)
        q = self._corrector_steps(self.model.schedule)

        def answer(rows, terms):
            x = tf.constant(x_next[rows])
            first = tf.constant(rows.start)
            return self._run(self.model.denoise, (x, level[rows], seed, first, 'ema', terms, q))

        return finite(self._in_parts(answer, len(x_next), labels, guidance))

    def ood(self, images: ArrayLike, others: ArrayLike, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Measures how well scores of this model tell images from others, which are out of distribution.

        Args:
          images: real images that the model was not trained on, see `energy`.
          others: other images.
          seed: 0 to 2^31 - 1, for the bootstrap intervals.

        Returns:
          {score: figures}. `evaluation.detectors` describes the scores; 'typicality' needs the heights.
          The figures are 'auroc', 'aupr' and 'fpr95', their 95 % intervals ('auroc_interval': [low, high] and
          so on), and the numbers of images, 'num_real' and 'num_other'.

        Raises:
          UserError: an argument has a wrong shape or is out of range.

        Examples:
          >>> model = drl_tf.load('digits')
          >>> found = model.ood(model.sample(20), np.full([20, 16, 16, 1], 255, np.uint8))
          >>> found['gradient']['auroc']
          1.0
        """
        # Imported late, because scikit-learn takes seconds.
        from drl_tf.evaluation.metrics.detection import detection

        seed = arguments.number('seed', seed, 0)
        typical = None
        if self._heights is not None:
            heights = Heights.known(self._heights)
            level = np.array([self.model.scoring_level])
            typical = (
                heights.constants(self.model.schedule, self.image_shape, level)[0] - heights.typical_mean
            )
        real, other = (detectors(self.score(mine), typical) for mine in (images, others))
        return {name: detection(real[name], other[name], seed) for name in real}

    def fit(
        self,
        images: ArrayLike,
        labels: ArrayLike | None = None,
        epochs: int = 1,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        verbose: str | int = 'auto',
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> keras.callbacks.History:
        """Continues training on images of your own, and updates the averaged weights.

        Args:
          images: uint8 or float within [-1, 1], [n, H, W, C].
          labels: for models with classes, one class per image, [n]; classes count from 0, -1 means no class.
          epochs: number of passes over the images, of n // `batch_size` steps each.
          batch_size: images per step. None: the value in the configuration, or fewer if n is smaller.
          learning_rate: Adam's learning rate after the warm-up. None: the value in the configuration.
          verbose, callbacks: as in Keras.

        Returns:
          The Keras `History`: for each epoch, the means of the losses and of the gradient norm.

        Raises:
          UserError: an argument has a wrong shape or is out of range.
          DivergenceError: the energies diverged; the model has the weights from before the call.

        Examples:
          >>> model = drl_tf.load('digits')
          >>> history = model.fit(model.sample(32), labels=np.arange(32) % 10, batch_size=16, verbose=0)
          >>> model.step
          16002
        """
        x = self._inputs.clean(images)
        if self.num_classes and labels is None:
            raise UserError('labels must be given: the model has classes (-1 is no class)')
        labels = self._inputs.labels(labels, len(x))
        batch_size = self._fitting.batch_size(batch_size, len(x))
        epochs = arguments.number('epochs', epochs, 1)
        learning_rate = self._fitting.learning_rate(learning_rate)
        data = (x, network_labels(labels)) if self.num_classes else x
        options = dict(epochs=epochs, verbose=verbose, callbacks=callbacks)
        before = self._fitting.steps
        try:
            return self._fitting.fit(data, len(x), batch_size, learning_rate, **options)
        finally:
            taken = self._fitting.steps - before
            self.step += taken
            self._beginning = {
                **self._beginning,
                'fitted_steps': self._beginning['fitted_steps'] + taken,
                'heights': None if taken else self._heights,
            }
            self._heights = self._beginning['heights']
            self._corrector_steps.cache_clear()
            self.model.ema_network.converge_u()

    def export(self, directory: str | os.PathLike, max_samples: int | None = None) -> str:
        """Writes a SavedModel with the averaged weights, for TensorFlow Serving and for `drl_tf.load`.

        Args:
          directory: parent of the version folders 1, 2, ...; `export` makes the next one.
          max_samples: largest number of images in a request. None: 1,024, or fewer if the gradient of 1,024
            images would need more than 4 GiB.

        Returns:
          The path of the version folder.

        Raises:
          UserError: the model cannot be exported, or the directory cannot be written to.

        Examples:
          >>> drl_tf.load('digits').export('saved_models/mine')
          'saved_models/mine/1'
        """
        directory = arguments.path('directory', directory)
        max_samples = 0 if max_samples is None else arguments.number('max_samples', max_samples, 1)
        config = dataclasses.replace(self.config, training=self._fitting.recipe).replace(precision='float32')
        known = {**provenance.NOTHING, **self._beginning}
        with arguments.named(export_dir='directory'):
            export.check(self.config, directory)
            model = build_model(config)
            for mine, own in zip(model.averages, self.model.averages, strict=True):
                for network in mine:
                    network.set_weights(own[0].get_weights())
            written = export.write(model, config, self.step, directory, max_samples, history=known)
        return written['SavedModel']

    def _run(self, function, inputs):
        """Calls a `tf.function` of the model in a form whose graph serves any number of images."""
        return self._function_of(function)(*inputs)
