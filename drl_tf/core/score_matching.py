"""Score matching of preconditioned energies at all noise levels."""

import numpy as np
import tensorflow as tf

from drl_tf.core import noise, objectives, preconditioning
from drl_tf.core.diffusion import per_image
from drl_tf.core.level_mean import rms
from drl_tf.core.model import RecoveryLikelihood


class ScoreMatching(RecoveryLikelihood):
    """A `RecoveryLikelihood` whose energies are log densities and learn by denoising score matching.

    All T + 1 noises have an energy, that of x_T too. With `time_score` the energies learn their heights as
    well.
    """

    @property
    def num_noises(self):
        """T + 1."""
        return self.schedule.num_levels + 1

    def noted(self):
        return ('loss', 'gradient_norm', *(['time_score'] if self.config.training.time_score else []))

    def draw_levels(self, seed):
        """Noise levels of the images of the global batch, stratified: the T + 1 of the walk, or any.

        Returns:
          The nearest noise of the walk, int32 [B], and the angle, float32 [B].
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

    def losses_and_gradients(self, batch):
        """The losses of a `Batch` and their gradients; see `RecoveryLikelihood`."""
        options = self.config.training
        eps = batch.noise(noise.FORWARD, 0)
        A, S = (f(batch.angle)[:, None, None, None] for f in (tf.cos, tf.sin))
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
        return {'loss': (loss, tape.gradient(loss, self.network.trainable_variables))}

    def _derivatives(self, x, angle, labels, dropout):
        """Of log p(x): grad in x, like `x`, and the derivative in the angle, float32 [B]; None where no loss
        asks for it."""
        with tf.GradientTape() as tape:
            tape.watch((x, angle))
            prepared = self.network.prepare(preconditioning.time_of(angle), labels)
            log_prob = self.network(x, prepared, dropout=dropout)
        if self.config.training.time_score:
            return tape.gradient(log_prob, (x, angle))
        return tape.gradient(log_prob, x), None

    def _weight_of_heights(self):
        """0 while the slopes are learnt, then that of the configuration."""
        options = self.config.training
        begun = self.optimizer.iterations.value >= options.heights_after
        return tf.where(begun, options.time_score, 0.0)
