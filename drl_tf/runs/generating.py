"""Methods of `drl_tf.EnergyModel` that draw images."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from drl_tf.base import arguments
from drl_tf.base.deprecation import deprecated
from drl_tf.core import pilot, sampling
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.runs import pictures
from drl_tf.runs.inputs import finite
from drl_tf.runs.scoring import Scoring

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood

_MOST_IMAGES = 2**30
Callbacks: TypeAlias = keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None


class Generating(Scoring):
    """The methods of `drl_tf.EnergyModel` that draw images.

    Args:
      model: the Keras model inside the `EnergyModel`, a `RecoveryLikelihood`.
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).
    """

    def __init__(self, model: RecoveryLikelihood, weights: Weights = Weights.EMA):
        super().__init__(model, weights=weights)
        self._corrector_steps = functools.cache(lambda walk: pilot.steps(model, weights, walk))
        self._function_of = functools.cache(
            lambda function: tf.function(function.python_function, autograph=False, reduce_retracing=True)
        )
        self._walk = functools.cache(self._walk_of)

    def generate(
        self,
        num_samples: int = 16,
        labels: ArrayLike | None = None,
        guidance: float | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        callbacks: Callbacks = None,
        first: int = 0,
    ) -> np.ndarray:
        """Draws images.

        Args:
          num_samples: n, the number of images, at least 1.
          labels: class number from 0, one for all images, or one per image ([n]); -1 means no class. None:
            the images take all classes in turn.
          guidance: weight w, -1 to 20, of classifier-free guidance, which replaces the log density F(class)
            by (1 + w) F(class) - w F(no class). None: the option `guidance` of the configuration.
          seed: random seed, 0 to 2^31 - 1. Image i depends only on (seed, first + i), up to rounding by one
            grey level.
          num_steps: number of noise levels to visit, 1 to `num_levels`; fewer are faster and less accurate.
            None: the option `sampling_levels` of the configuration. Models of the recipe cdrl allow
            `num_levels` only.
          callbacks: one Keras callback or several, called as by Keras `predict`. A batch is drawn in several
            parts, of a few noise levels each. After each part, `on_predict_batch_begin` and
            `on_predict_batch_end` are called. The latter gets `logs['outputs']`: the images, still noisy,
            float32 [batch, H, W, C].
          first: index of the first image, such as 16 to continue after the images 0 to 15 of the same seed.

        Returns:
          The images, uint8 [n, H, W, C]; for toy datasets points of the plane, float32 [n, 1, 1, 2].

        Raises:
          UserError: an argument is out of range, or the samples are not finite.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> model.generate(2, labels=3, guidance=0.5).shape
          (2, 16, 16, 1)
        """
        n = arguments.number('num_samples', num_samples, 1, _MOST_IMAGES)
        seed = self._checked.seed(seed)
        size = min(n, self.config.sampling.sample_batch_size)
        first = arguments.number('first', first, 0, arguments.LARGEST - -(-n // size) * size)
        if labels is None and self.num_classes:
            labels = np.arange(first, first + n) % self.num_classes
        guidance = self.config.sampling.guidance if guidance is None else guidance
        labels = self._checked.labels(labels, n)
        walk = self.model.walk if num_steps is None else self._walk(num_steps)
        q = self._corrector_steps(walk)
        steps = self._steps_of(callbacks, walk, -(-n // size))
        run = functools.partial(steps.run, self._run)
        steps.callbacks.on_predict_begin()
        drawn = []
        for start in range(0, n, size):
            part = None if labels is None else np.resize(labels[start : start + size], size)
            terms = self._checked.terms(part, size, guidance)
            draw = Draw(tf.constant(first + start), self._weights, terms, q, walk)
            states = self.model.sample(tf.constant(size), seed, draw, run, steps.after_part)
            drawn.append(states[-1].numpy()[: n - start])
        steps.callbacks.on_predict_end()
        return pictures.kept(finite(np.concatenate(drawn)))

    def sample(
        self,
        num_samples: int = 16,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float | None = None,
        first: int = 0,
    ) -> np.ndarray:
        """Deprecated: use `generate`, whose arguments come in another order."""
        deprecated('EnergyModel.sample', 'EnergyModel.generate')
        return self.generate(num_samples, labels, guidance, seed, first=first)

    def denoise(
        self,
        images: ArrayLike,
        level: ArrayLike = 0,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
    ) -> np.ndarray:
        """Removes the noise of one level from noisy images, with the sampler of the configuration.

        An image with the noise of level t + 1 becomes a random draw of the image with the noise of level t.

        Args:
          images: images with the noise of level t + 1, float [n, H, W, C]; or uint8, which is scaled to
            [-1, 1].
          level: t, 0 to `num_levels` - 1, one for all images or one per image ([n]).
          seed: random seed, 0 to 2^31 - 1; image i of the result depends on (seed, i) and on image i only.
          labels: class number from 0, one for all images or one per image ([n]); None or -1: no class.
          guidance: w, -1 to 20; replaces the log density F(class) by (1 + w) F(class) - w F(no class).

        Returns:
          Images with the noise of level t, float32 [n, H, W, C].

        Raises:
          UserError: an argument has a wrong shape or is out of range, or the images are not finite.

        Examples:
          >>> drl_tf.EnergyModel.from_preset('digits').denoise(np.zeros([2, 16, 16, 1])).dtype
          dtype('float32')
        """
        x_next = self._checked.images(images)
        level = self._checked.level(level, len(x_next))
        seed = self._checked.seed(seed)
        q = self._corrector_steps(self.model.schedule)

        def answer(rows: slice, terms: Any) -> tf.Tensor:
            draw = Draw(tf.constant(rows.start), self._weights, terms, q)
            return self._run(self.model.denoise, (tf.constant(x_next[rows]), level[rows], seed, draw))

        return finite(self._in_parts(answer, len(x_next), labels, guidance))

    def _steps_of(self, callbacks: Callbacks, walk: Schedule, batches: int) -> _Steps:
        """Returns what calls the callbacks for each part of the levels of each batch."""
        return _Steps(self, callbacks, batches * min(walk.num_levels, sampling.MOST_PARTS))

    def _run(self, function: Any, inputs: tuple[Any, ...]) -> Any:
        """Calls a `tf.function` of the model so that one graph serves any number of images."""
        return self._function_of(function)(*inputs)

    def forget_steps(self) -> None:
        """Clears the cached step sizes of the sampling chains; call this after the weights have changed.

        Some samplers find their step sizes by a pilot run, so the step sizes depend on the weights.
        """
        self._corrector_steps.cache_clear()

    def _walk_of(self, num_steps: int) -> Schedule:
        """Returns the schedule of a walk over `num_steps` levels; raises UserError if it is not possible."""
        count = arguments.number('num_steps', num_steps, 1, self.num_levels)
        with arguments.named(sampling_levels='num_steps'):
            self.config.replace(sampling_levels=count)
        return self.model.schedule.strided(count)


class _Steps:
    """Calls Keras callbacks for each part of sampling, as `predict` calls them for each batch.

    Args:
      model: the model that the callbacks see.
      callbacks: a callback, several, or None.
      count: number of parts.
    """

    def __init__(self, model: keras.Model, callbacks: Callbacks, count: int):
        self.callbacks = keras.callbacks.CallbackList(
            callbacks, model=model, steps=count, epochs=1, verbose=1
        )
        self._numbers = itertools.count()
        self._images: tf.Tensor | None = None

    def run(self, run: Callable[..., Any], function: Any, inputs: tuple[Any, ...]) -> Any:
        """Calls `run`, and keeps the images that `run` returns for the callbacks."""
        found = run(function, inputs)
        self._images = found[0] if isinstance(found, tuple) else found
        return found

    def after_part(self, share: float) -> None:
        """Calls the callbacks for the beginning and the end of a part, once the part is done."""
        number = next(self._numbers)
        self.callbacks.on_predict_batch_begin(number)
        self.callbacks.on_predict_batch_end(number, {'outputs': np.asarray(self._images)})
