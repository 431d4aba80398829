"""Methods of `drl_tf.EnergyModel` that inpaint, restore, edit and interpolate images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from drl_tf.base import arguments, pixels
from drl_tf.base.errors import UserError
from drl_tf.core import noise, operators
from drl_tf.core.diffusion import at
from drl_tf.core.guidance import Terms, between_classes
from drl_tf.core.inverse import Plan, solve
from drl_tf.core.posterior import Observation
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.editing import degradations, plans
from drl_tf.editing.degradations import Degradation
from drl_tf.runs import pictures
from drl_tf.runs.generating import Generating
from drl_tf.runs.inputs import finite

if TYPE_CHECKING:
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood

_MOST_FRAMES = 10_000


class Editing(Generating):
    """The base class of `drl_tf.EnergyModel` that inpaints, restores, edits and interpolates images.

    Args:
      model: the Keras model inside the `EnergyModel`.
      weights: 'ema' (averages of the weights over training) or 'raw' (the weights at the last step).
    """

    def __init__(self, model: RecoveryLikelihood, weights: Weights = Weights.EMA):
        super().__init__(model, weights)
        self._solver_of = functools.cache(self._solver)

    def inpaint(
        self,
        images: ArrayLike,
        missing: ArrayLike,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
        plan: Plan | None = None,
    ) -> np.ndarray:
        """Fills in missing pixels; the other pixels stay as they are, bit for bit.

        Args:
          images: uint8 or floats in [-1, 1], [n, H, W, C]. Repeat an image to get several results.
          missing: bool, broadcast against [n, H, W, C]: True where a pixel is missing.
          seed: 0 to 2^31 - 1; result i depends on (seed, i) and image i.
          labels: one class for all images, or one per image ([n]); None or -1 means no class.
          guidance: weight w of the class, -1 to 20. Images are drawn from the log density (1 + w) F(class)
            - w F(no class), where F is the log density of the model. 0: no guidance.
          plan: the method and the number of steps. The method 'posterior' needs a model that was trained with
            --energy=preconditioned; 'replace' works with others too. None: 'posterior' for models that
            allow it, else 'replace', with default numbers of steps.

        Returns:
          Images of the shape and type of `images`, uint8 or float32.

        Raises:
          UserError: an argument has a wrong shape or is out of range, or the model does not allow the plan.

        Examples:
          >>> digits = drl_tf.EnergyModel.from_preset('digits')
          >>> lower_half = np.arange(16)[:, None, None] >= 8
          >>> digits.inpaint(digits.generate(2), lower_half, labels=[0, 1]).shape
          (2, 16, 16, 1)
        """
        x = self._checked.clean(images)
        try:
            missing = np.broadcast_to(np.asarray(missing, bool), x.shape)
        except ValueError as error:
            raise UserError(f'missing of shape {np.shape(missing)} must fit to {x.shape}') from error
        seen = (~missing).astype(np.float32)
        found = self._answers(seen * x, seen, None, 0.0, seed, labels, guidance, plan)
        given = np.asarray(images)
        if given.dtype == np.uint8:
            return np.where(missing, pixels.to_uint8(found), given)
        return np.where(missing, np.clip(found, -1, 1), x)

    def restore(
        self,
        observations: ArrayLike,
        degradation: str | Degradation,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
        plan: Plan | None = None,
    ) -> np.ndarray:
        """Restores degraded images: draws images whose degraded versions are the observations.

        Args:
          observations: degraded images, uint8, or floats in [-1, 1] up to noise, [n, h, w, c]: smaller
            images for 'super2' and 'super4', grey images for 'grey', and images of the model's shape for
            other degradations.
          degradation: 'super2' or 'super4' (images 2 or 4 times smaller), 'grey', 'blur:STD' (Gaussian blur,
            STD in pixels), 'blur:FILE.npy' (a kernel), 'noise:STD' (white noise, for images in [-1, 1]); or a
            parsed `Degradation`. `estimation.noise_std` estimates an unknown STD of noise.
          seed: 0 to 2^31 - 1; result i depends on (seed, i) and observation i.
          labels: one class for all images, or one per image ([n]); None or -1 means no class.
          guidance: weight w of the class, -1 to 20. Images are drawn from the log density (1 + w) F(class)
            - w F(no class), where F is the log density of the model. 0: no guidance.
          plan: the method and the number of steps. The method 'posterior' needs a model that was trained with
            --energy=preconditioned; 'replace' works with others too, but cannot undo 'blur' and 'noise'.
            None: 'posterior' for models that allow it, else 'replace', with default numbers of steps.

        Returns:
          Images, uint8 [n, H, W, C].

        Raises:
          UserError: an argument has a wrong shape or is out of range, or the plan does not work with the
            model or the degradation.

        Examples:
          >>> digits = drl_tf.EnergyModel.from_preset('digits')
          >>> smaller = digits.generate(2).reshape(2, 8, 2, 8, 2, 1).mean(axis=(2, 4)) / 127.5 - 1
          >>> digits.restore(smaller, 'super2').shape
          (2, 16, 16, 1)
        """
        if isinstance(degradation, str):
            with arguments.named():
                degradation = degradations.parse(degradation, self.image_shape)
        if degradation.noise_std is None:
            raise UserError('degradation=noise needs its deviation, such as noise:0.2: see noise_std')
        o = arguments.images('observations', observations, degradation.observed_shape(self.image_shape))
        std = degradation.noise_std
        reach = np.abs(o).max()
        if not self.config.planar and reach > degradation.largest_value:
            raise UserError(
                f'observations reach {reach:.4g}, too far for images in [-1, 1]: scale them (x / 127.5 - 1), '
                'or give uint8'
            )
        found = self._answers(o, None, degradation, std, seed, labels, guidance, plan)
        return pictures.kept(found)

    def edit(
        self,
        images: ArrayLike,
        strength: float = 0.5,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
    ) -> np.ndarray:
        """Changes images: adds noise, and removes it by sampling (SDEdit; Meng et al., ICLR 2022).

        Args:
          images: uint8 or floats in [-1, 1], [n, H, W, C].
          strength: how much noise to add, as a share of the noise levels, above 0 and at most 1. The larger
            it is, the less of the image remains.
          seed: 0 to 2^31 - 1; result i depends on (seed, i) and image i.
          labels: one class for all images, or one per image ([n]); None or -1 means no class.
          guidance: weight w of the class, -1 to 20. Images are drawn from the log density (1 + w) F(class)
            - w F(no class), where F is the log density of the model. 0: no guidance.

        Returns:
          Images, uint8 [n, H, W, C].

        Raises:
          UserError: an argument has a wrong shape or is out of range.

        Examples:
          >>> digits = drl_tf.EnergyModel.from_preset('digits')
          >>> digits.edit(digits.generate(2), strength=0.5, labels=[3, 8]).dtype
          dtype('uint8')
        """
        x = self._checked.clean(images)
        walk = self.model.walk
        strength = arguments.number('strength', strength, 0, 1, whole=False)
        with arguments.named():
            level = plans.level_of(strength, walk.num_levels)
        seed = self._checked.seed(seed)
        q = self._corrector_steps(walk)

        def answer(rows: slice, terms: Terms) -> np.ndarray:
            clean = tf.constant(x[rows])
            index = tf.fill([len(clean)], level)
            eps = noise.normal(noise.fold(seed, noise.FORWARD), tf.shape(clean), rows.start)
            noisy = at(walk.A, index) * clean + at(walk.S, index) * eps
            bounds = (tf.constant(level), tf.constant(0))
            draw = Draw(tf.constant(rows.start), self._weights, terms, q)
            x_0, _ = self.model.walk_levels(noisy, *bounds, seed, draw)
            return self._finished(x_0, terms).numpy()

        return pictures.kept(finite(self._in_parts(answer, len(x), labels, guidance)))

    def interpolate(
        self,
        begin: int = 0,
        end: int = 1,
        num_frames: int = 9,
        seed: int = 0,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> np.ndarray:
        """Draws a sequence of images that leads from one sample to another.

        All noise that the sampler draws for the two samples is interpolated spherically between them.

        Args:
          begin, end: indices of the two samples, as `generate` draws them with this seed.
          num_frames: number of images n, at least 2; the first is sample `begin`, the last sample `end`.
          seed: 0 to 2^31 - 1.
          labels: one class for both samples, or one class for each. Frames between two classes use a weighted
            mean of their log densities. None: the classes that `generate` gives to these indices.
          guidance: weight w of the class, -1 to 20. Images are drawn from the log density (1 + w) F(class)
            - w F(no class), where F is the log density of the model. 0: no guidance.
          callbacks: Keras callbacks, such as one that shows progress; an exception in one ends the work.

        Returns:
          The frames, uint8 [n, H, W, C].

        Raises:
          UserError: an argument is out of range.

        Examples:
          >>> drl_tf.EnergyModel.from_preset('digits').interpolate(3, 8, num_frames=5).shape
          (5, 16, 16, 1)
        """
        n = arguments.number('num_frames', num_frames, 2, _MOST_FRAMES)
        ends = [arguments.number(name, value, 0) for name, value in (('begin', begin), ('end', end))]
        if labels is None and self.num_classes:
            labels = [index % self.num_classes for index in ends]
        labels = self._checked.labels(labels, 2)
        seed = self._checked.seed(seed)
        self._checked.terms(labels, 2, guidance)  # Checks the guidance.
        size = self.config.sampling.sample_batch_size
        steps = self._steps_of(callbacks, self.model.walk, -(-n // size))
        run = functools.partial(steps.run, self._run)
        q = self._corrector_steps(self.model.walk)
        steps.callbacks.on_predict_begin()
        position = np.linspace(0, 1, n, dtype=np.float32)
        drawn = []
        for start in range(0, n, size):
            mine = tf.constant(position[start : start + size])
            terms = between_classes(labels, mine, guidance)
            between = noise.between(tf.constant(ends[0]), tf.constant(ends[1]), mine)
            draw = Draw(between, self._weights, terms, q)
            states = self.model.sample(len(mine), seed, draw, run, steps.after_part)
            drawn.append(states[-1].numpy())
        steps.callbacks.on_predict_end()
        return pictures.kept(finite(np.concatenate(drawn)))

    def _answers(
        self,
        value: np.ndarray,
        seen: np.ndarray | None,
        degradation: Degradation | None,
        noise_std: float,
        seed: int,
        labels: ArrayLike | None,
        guidance: float,
        plan: Plan | None,
    ) -> np.ndarray:
        """Solves n inverse problems in batches; returns images, float32 [n, H, W, C]."""
        with arguments.named(method='plan.method', edit_levels='plan.num_levels'):
            plan = plans.checked(self.config, plan, degradation)
        q = self._corrector_steps(self.model.walk) if plan.method == 'replace' else None
        seed = self._checked.seed(seed)

        def answer(rows: slice, terms: Terms) -> np.ndarray:
            mine = None if seen is None else tf.constant(seen[rows])
            o = tf.constant(value[rows])
            std = tf.constant(noise_std, tf.float32)
            draw = Draw(tf.constant(rows.start), self._weights, terms, q)
            return self._solver_of(degradation, plan)(o, mine, std, seed, draw).numpy()

        return finite(self._in_parts(answer, len(value), labels, guidance))

    def _solver(self, degradation: Degradation | None, plan: Plan) -> Callable[..., tf.Tensor]:
        """Returns a `tf.function` that solves inverse problems of one degradation; None: inpainting."""

        def solver(value, seen, noise_std, seed, draw):
            if degradation is None:
                operator = operators.masked(seen)
            else:
                operator = degradation.operator(self.image_shape)
            observation = Observation(operator, value, noise_std)
            return solve(self.model, observation, plan, seed, draw)

        return tf.function(solver, autograph=False, reduce_retracing=True)

    def _finished(self, x_0: tf.Tensor, terms: Terms) -> tf.Tensor:
        if not self.config.diffusion.final_denoise:
            return x_0
        return self.model.final_denoise(x_0, self._weights, terms)
