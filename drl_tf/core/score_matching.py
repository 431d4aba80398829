"""Trains preconditioned energies by score matching at all noise levels."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from drl_tf.core import level_pairs, noise, objectives, preconditioning
from drl_tf.core.batch import Batch
from drl_tf.core.diffusion import per_image
from drl_tf.core.level_mean import rms
from drl_tf.core.level_pairs import LevelPair
from drl_tf.core.noise import Dropout, Seed
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.core.weight_updates import LossesAndGradients, gradients_of_slopes

_LOSSES_OF_HEIGHTS = ('time_score', 'level_classification', 'recovery_nce', 'recovery_off_data')
# Step between two neighbouring levels, in log-SNR, times sqrt(D). If the data have few dimensions, the two
# classes of level classification are about _STEP / sqrt(2) standard deviations apart.
_STEP = 3.5


class _StepDown(NamedTuple):
    """A step from x_{t+1} to x_t, one noise level down.

    Attributes:
      pair: both levels.
      exists: whether there is a level below that of x_{t+1}, bool [B].
      x: x_{t+1}, float32 [B, H, W, C].
      log_prob: log p(x_{t+1}), float32 [B].
      proposal: mean and variance of the proposal r(x_t | x_{t+1}).
    """

    pair: LevelPair
    exists: tf.Tensor
    x: tf.Tensor
    log_prob: tf.Tensor
    proposal: tuple[tf.Tensor, tf.Tensor]


class ScoreMatching(RecoveryLikelihood):
    """A model whose energies are log densities, trained by denoising score matching.

    All noise levels x_0..x_T of the schedule have an energy. Score matching leaves one additive constant of
    the log density open at each level. The options `time_score`, `level_classification` and `recovery_nce`
    add losses that fit these constants; the last also fits how dense one image is against another.
    `recovery_off_data` fits how dense images unlike the data are. The module `objectives` has functions of
    the same names.

    Args:
      config: the configuration of the model, a `config.Config` with energy='preconditioned'.
      attempt: how often training went back to an earlier checkpoint; after each return it draws new noise.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> config = config.replace(energy='preconditioned', objective='score_matching', act='swish')
      >>> ScoreMatching(config).num_noises
      7
    """

    @property
    def num_noises(self) -> int:
        """T + 1, the number of noise levels for which training logs values."""
        return self.schedule.num_levels + 1

    def noted(self) -> tuple[str, ...]:
        """Returns the names of the values that training logs for each noise level, such as 'loss'."""
        return ('loss', 'gradient_norm', *self._losses_of_heights)

    @property
    def _losses_of_heights(self) -> list[str]:
        """Names the losses in use that teach heights."""
        return [name for name in _LOSSES_OF_HEIGHTS if getattr(self.config.training, name)]

    def draw_levels(self, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws a noise level for each of the B images in the batch of all replicas.

        The B levels are evenly spread. With the option levels='walk', each is one of the T + 1 levels of the
        schedule. With levels='continuous', each is any level between the lowest and the highest.

        Args:
          seed: random seed of the training step, int32 [2].

        Returns:
          index: index of the nearest level of the schedule, 0 to T, int32 [B].
          angle: the exact level as an angle in radians, float32 [B].
        """
        options = self.config.training
        angles = self.schedule.angle
        u = noise.stratified(seed, options.batch_size)
        if options.levels == 'walk':
            levels = tf.cast(u * self.num_noises, tf.int32)
            return levels, per_image(angles, levels)
        angle = noise.continuous_angles(u, angles[0], angles[-1])
        between = np.float32((angles[1:] + angles[:-1]) / 2)
        return tf.searchsorted(between, angle), angle

    def losses_and_gradients(self, batch: Batch) -> LossesAndGradients:
        """Computes the loss of score matching, with the losses that options add, and its gradients.

        Args:
          batch: some of this replica's training images, with their noise levels.

        Returns:
          {'loss': (loss, gradients)}. loss: the sum over `batch` divided by the global batch size,
          float32 []. gradients: one tensor for each trainable variable of the model's attribute `network`.
        """
        options = self.config.training
        eps = batch.noise(noise.FORWARD, 0)
        angle = tf.reshape(batch.angle, [-1, 1, 1, 1])
        A = tf.cos(angle)
        S = tf.sin(angle)
        x = A * batch.images + S * eps
        dropout = self.dropout_of(batch.seed, batch.first)
        with tf.GradientTape() as tape:
            log_prob, score, slope = self._derivatives(x, batch.angle, batch.labels, dropout)
            losses = objectives.score_matching(score, eps, batch.angle, self.network.std)
            noted = [losses, rms(S * score)]
            loss = tf.reduce_sum(losses)
            of_heights = {
                'time_score': lambda: objectives.time_score(
                    slope, batch.images, eps, batch.angle, self.network.std
                ),
                'level_classification': lambda: self._classify_levels(log_prob, x, eps, batch),
                'recovery_nce': lambda: self._tell_from_proposals(log_prob, score, x, batch),
                'recovery_off_data': lambda: self._compare_off_data(batch),
            }
            for name in self._losses_of_heights:
                heights = self._once_begun(of_heights[name], losses)
                noted.append(heights)
                loss += getattr(options, name) * tf.reduce_sum(heights)
            loss /= options.batch_size
        self.note(batch.level, *noted)
        return {'loss': (loss, gradients_of_slopes(tape, loss, self.network))}

    def _derivatives(
        self, x: tf.Tensor, angle: tf.Tensor, labels: tf.Tensor | None, dropout: Dropout | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Differentiates log p(x).

        Returns:
          log p(x), float32 [B]; its gradient in x, like `x`; and its derivative in the angle, float32 [B], or
          None without a `time_score` loss.
        """
        with tf.GradientTape() as tape:
            tape.watch((x, angle))
            prepared = self.network.prepare(preconditioning.time_of(angle), labels)
            log_prob = self._log_prob(x, prepared, dropout)
        if self.config.training.time_score:
            return log_prob, *tape.gradient(log_prob, (x, angle))
        return log_prob, tape.gradient(log_prob, x), None

    def _log_prob(self, x: tf.Tensor, prepared: dict[str, Any], dropout: Dropout | None) -> tf.Tensor:
        return self.network(x, prepared, dropout=dropout, remat=self.config.training.remat)

    def _classify_levels(self, log_prob: tf.Tensor, x: tf.Tensor, eps: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Returns the loss of telling the level of x from the level above by log p, float32 [B].

        Args:
          log_prob: log p(x), float32 [B].
          x: noisy images, float32 [B, H, W, C].
          eps: their noise, like `x`.
          batch: the clean images, and the levels of `x`.
        """
        u, v = batch.angle, self._above(batch)
        at_v = tf.reshape(v, [-1, 1, 1, 1])
        x_v = tf.cos(at_v) * batch.images + tf.sin(at_v) * eps
        labels = None if batch.labels is None else tf.tile(batch.labels, [3])
        prepared = self.network.prepare(preconditioning.time_of(tf.concat([v, v, u], axis=0)), labels)
        dropout = self.dropout_of(batch.seed, *[batch.first] * 3)
        found = self._log_prob(tf.concat([x, x_v, x_v], axis=0), prepared, dropout)
        x_as_v, x_v_as_v, x_v_as_u = tf.split(found, 3)
        return objectives.level_classification(log_prob - x_as_v, x_v_as_v - x_v_as_u)

    def _above(self, batch: Batch) -> tf.Tensor:
        """Returns the angle of the next level up to the top, float32 [B].

        With the option levels='walk' this is the next noise of the schedule, otherwise a small step of the
        log-SNR away.
        """
        angles = self.schedule.angle
        if self.config.training.levels == 'walk':
            return per_image(angles, tf.minimum(batch.level + 1, self.schedule.num_levels))
        tangent = tf.tan(batch.angle) * math.exp(self._step / 2)
        return tf.minimum(tf.atan(tangent), np.float32(angles[-1]))

    def _tell_from_proposals(
        self, log_prob: tf.Tensor, score: tf.Tensor, x: tf.Tensor, batch: Batch
    ) -> tf.Tensor:
        """Returns the loss of telling x_t of the data from proposals, given x_{t+1} = x, float32 [B].

        Images whose level has no level below get the loss 0. So the logged mean of level 0 is too low.

        Args:
          log_prob: log p(x), float32 [B].
          score: its gradient in x, float32 [B, H, W, C].
          x: noisy images, float32 [B, H, W, C].
          batch: the clean images, and the levels of `x`.
        """
        step = self._step_down(x, log_prob, score, batch)
        real = level_pairs.draw(*step.pair.posterior(batch.images, x), batch.noise(noise.RECOVERY, 0))
        proposed = level_pairs.draw(*step.proposal, batch.noise(noise.RECOVERY, 1))
        ratios = self._log_ratios(step, (real, proposed), batch)
        return tf.where(step.exists, objectives.recovery_nce(*ratios), 0.0)

    def _compare_off_data(self, batch: Batch) -> tf.Tensor:
        """Returns the loss of log p at two neighbouring levels on images unlike the data, float32 [B]."""
        angle = tf.reshape(batch.angle, [-1, 1, 1, 1])
        x = tf.cos(angle) * batch.off_data() + tf.sin(angle) * batch.noise(noise.OFF_DATA, 4)
        dropout = self.dropout_of(batch.seed, batch.first)
        log_prob, score, _ = self._derivatives(x, batch.angle, batch.labels, dropout)
        step = self._step_down(x, log_prob, score, batch)
        proposed = level_pairs.draw(*step.proposal, batch.noise(noise.OFF_DATA, 5))
        (ratio,) = self._log_ratios(step, (proposed,), batch)
        return tf.where(step.exists, objectives.recovery_off_data(ratio), 0.0)

    def _step_down(self, x: tf.Tensor, log_prob: tf.Tensor, score: tf.Tensor, batch: Batch) -> _StepDown:
        """Returns the step from x = x_{t+1}, whose log density and score are given, to the level t below."""
        below, exists = self._below(batch)
        pair = LevelPair(below, batch.angle)
        return _StepDown(pair, exists, x, log_prob, pair.proposal(tf.stop_gradient(score), x))

    def _log_ratios(self, step: _StepDown, draws: Sequence[tf.Tensor], batch: Batch) -> list[tf.Tensor]:
        """Returns the log ratio of `objectives.recovery_nce`, float32 [B], for each of several draws of x_t.

        Args:
          step: the step from x_{t+1} to x_t.
          draws: draws of x_t, float32 [B, H, W, C] each.
          batch: the labels of the images.
        """
        count = len(draws)
        labels = None if batch.labels is None else tf.tile(batch.labels, [count])
        prepared = self.network.prepare(preconditioning.time_of(tf.tile(step.pair.angle, [count])), labels)
        dropout = self.dropout_of(batch.seed, *[batch.first] * count)
        found = tf.split(self._log_prob(tf.concat(draws, axis=0), prepared, dropout), count)
        return [
            F - step.log_prob + step.pair.log_ratio(drawn, step.x, *step.proposal)
            for F, drawn in zip(found, draws, strict=True)
        ]

    def _below(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the angle of the next level down, float32 [B], and whether there is one, bool [B]."""
        angles = self.schedule.angle
        angle = tf.convert_to_tensor(batch.angle)
        if self.config.training.levels == 'walk':
            below = per_image(angles, tf.maximum(batch.level - 1, 0))
        else:
            below = tf.atan(tf.tan(angle) * math.exp(-self._step / 2))
        exists = (below >= np.float32(angles[0])) & (below < angle)
        return tf.where(exists, below, angle / 2), exists

    @property
    def _step(self) -> float:
        """The difference in log-SNR, -2 log tan(angle), between two neighbouring continuous levels."""
        return _STEP / math.sqrt(math.prod(self.config.image_shape))

    def _once_begun(self, compute: Callable[[], tf.Tensor], like: tf.Tensor) -> tf.Tensor:
        """Returns what `compute` returns, or zeros in the first `heights_after` steps, shaped as `like`."""
        first = self.config.training.heights_after
        if not first:
            return compute()
        return tf.cond(self.steps_taken >= first, compute, lambda: tf.zeros_like(like))
