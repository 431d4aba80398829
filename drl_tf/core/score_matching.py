"""Trains preconditioned energies by score matching at all noise levels."""

import numpy as np
import tensorflow as tf

from drl_tf.core import noise, objectives, preconditioning
from drl_tf.core.batch import Batch
from drl_tf.core.diffusion import per_image
from drl_tf.core.level_mean import rms
from drl_tf.core.noise import Dropout, Seed
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.core.weight_updates import LossesAndGradients, gradients_of_slopes


class ScoreMatching(RecoveryLikelihood):
    """A `RecoveryLikelihood` whose energies are log densities, trained by denoising score matching.

    All T + 1 noises have an energy, x_T included. The option `time_score` adds a loss on the derivative of
    log p in the noise level (Guth, Kadkhodaie and Simoncelli 2025, arXiv 2506.05310).

    Args:
      config: as for `EnergyModel`; its energies are preconditioned.
      attempt: as for `RecoveryLikelihood`.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> config = config.replace(energy='preconditioned', objective='score_matching', act='swish')
      >>> ScoreMatching(config).num_noises
      7
    """

    @property
    def num_noises(self) -> int:
        """T + 1: training reports on x_T too."""
        return self.schedule.num_levels + 1

    def noted(self) -> tuple[str, ...]:
        """Names what training reports of each noise level."""
        names = ('loss', 'gradient_norm')
        return (*names, 'time_score') if self.config.training.time_score else names

    def draw_levels(self, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws stratified noise levels for the global batch.

        With the option levels='walk' they are among the T + 1 noises of the schedule, otherwise anywhere
        between the lowest and the highest.

        Returns:
          The index of the nearest noise of the schedule, int32 [B], and the angle, float32 [B].
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
        """Returns the losses of a batch and their gradients; see `RecoveryLikelihood`."""
        options = self.config.training
        eps = batch.noise(noise.FORWARD, 0)
        angle = tf.reshape(batch.angle, [-1, 1, 1, 1])
        A = tf.cos(angle)
        S = tf.sin(angle)
        x = A * batch.images + S * eps
        dropout = self.dropout_of(batch.seed, batch.first)
        with tf.GradientTape() as tape:
            score, slope = self._derivatives(x, batch.angle, batch.labels, dropout)
            losses = objectives.score_matching(score, eps, batch.angle, self.network.std)
            noted = [losses, rms(S * score)]
            loss = tf.reduce_sum(losses)
            if options.time_score:
                heights = objectives.time_score(slope, batch.images, eps, batch.angle, self.network.std)
                noted.append(heights)
                loss += self._weight_of_heights() * tf.reduce_sum(heights)
            loss /= options.batch_size
        self.note(batch.level, *noted)
        return {'loss': (loss, gradients_of_slopes(tape, loss, self.network))}

    def _derivatives(
        self, x: tf.Tensor, angle: tf.Tensor, labels: tf.Tensor | None, dropout: Dropout | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Differentiates log p(x).

        Returns:
          The gradient in x, like `x`, and the derivative in the angle, float32 [B], or None without a
          `time_score` loss.
        """
        with tf.GradientTape() as tape:
            tape.watch((x, angle))
            prepared = self.network.prepare(preconditioning.time_of(angle), labels)
            log_prob = self.network(x, prepared, dropout=dropout)
        if self.config.training.time_score:
            return tape.gradient(log_prob, (x, angle))
        return tape.gradient(log_prob, x), None

    def _weight_of_heights(self) -> tf.Tensor:
        """Returns the weight of the time score loss, float32 []: 0 in the first `heights_after` steps."""
        options = self.config.training
        begun = self.optimizer.iterations.value >= options.heights_after
        return tf.where(begun, options.time_score, 0.0)
