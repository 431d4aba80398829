"""Recovery likelihood of preconditioned energies: on top of score matching, or alone."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core import noise, preconditioning
from drl_tf.core.batch import Batch
from drl_tf.core.diffusion import Schedule, at, per_image
from drl_tf.core.level_mean import LevelMean, rms
from drl_tf.core.noise import Dropout
from drl_tf.core.score_matching import ScoreMatching
from drl_tf.core.weight_updates import LossesAndGradients


def level_weights(schedule: Schedule) -> np.ndarray:
    """Returns w_t = L_{T-1} / L_t, the weight of the contrastive loss at each level, float64 [T].

    L_t = 1 / (m_t S_t)^2 + r_t / s_{t+1}^2 bounds the curvature of log p(y_t | x_{t+1}). Where it is large, a
    small change of the network e moves log p by thousands of nats; the weights keep such a level from
    outweighing the others.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> level_weights(diffusion.karras()).round(4).tolist()
      [0.0001, 0.0013, 0.0088, 0.0551, 0.2281, 1.0]
    """
    curvature = (schedule.m * schedule.S[:-1]) ** -2 + schedule.conditional / schedule.s[1:] ** 2
    return curvature[-1] / curvature


class NormalisedRecoveryLikelihood(ScoreMatching):
    """A `ScoreMatching` model that also learns by recovery likelihood (paper, Algorithm 1), or only by it.

    The loss of an image at level t is w_t (F(y-, t) - F(y+, t)), with F = log p. Here y+ is data, and y- is
    the end of a chain on p(y_t | x_{t+1}) that starts where sampling starts it. The levels are drawn evenly
    from the T levels of the schedule.

    With the option objective='score_matching', the step adds this loss, times the option `contrastive`, to
    the loss of score matching, from step `contrastive_after` on; earlier steps run no chain. With the option
    objective='contrastive' there is no other loss.

    Args:
      config: as for `ScoreMatching`.
      attempt: as for `RecoveryLikelihood`.

    Attributes:
      level_means: those of `RecoveryLikelihood`, and over the images of each level: 'contrastive', the mean
        of F(y-, t) - F(y+, t) in nats, and 'displacement', how far the chains moved.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> config = config.replace(energy='preconditioned', objective='score_matching', act='swish')
      >>> list(NormalisedRecoveryLikelihood(config.replace(contrastive=0.01)).level_means)
      ['loss', 'gradient_norm', 'contrastive', 'displacement']
    """

    def __init__(self, config: Any, attempt: int = 0) -> None:
        super().__init__(config, attempt)
        self._weights_of_levels = level_weights(self.schedule)
        means = {
            name: LevelMean(self.schedule.num_levels, name=name) for name in ('contrastive', 'displacement')
        }
        self.level_means = {**self.level_means, **means}

    def noted(self) -> tuple[str, ...]:
        """Names what score matching reports of each noise level."""
        return super().noted() if self._matches_scores else ()

    @property
    def _matches_scores(self) -> bool:
        return self.config.training.objective == 'score_matching'

    def losses_and_gradients(self, batch: Batch) -> LossesAndGradients:
        """Returns the losses of a batch and their gradients; see `RecoveryLikelihood`."""
        if not self._matches_scores:
            return self._recover(batch, 1.0)
        options = self.config.training
        anchor = super().losses_and_gradients(batch)
        more = tf.cond(
            self.optimizer.iterations.value >= options.contrastive_after,
            lambda: self._recover(batch, options.contrastive),
            lambda: tf.nest.map_structure(tf.zeros_like, anchor),
        )
        return tf.nest.map_structure(tf.add, anchor, more)

    def _recover(self, batch: Batch, weight: float) -> LossesAndGradients:
        """Computes the loss of recovery likelihood, times `weight`, and its gradients."""
        batch = self._at_other_levels(batch)
        level = batch.level

        # Positive pairs (x_t, x_{t+1}); y+ = m_t x_t.
        x_t, x_next = self._forward_pair(batch)
        y_pos = at(self.schedule.m, level) * x_t

        # Negatives y-: a chain on p(y | x_{t+1}).
        seed = noise.fold(batch.seed, noise.START)
        start, _ = self.chain_start(x_next, level, seed, batch.first, 'raw', batch.terms, training=True)
        y_neg, _ = self._chain(start, x_next, level, batch.seed, batch.first, batch.labels)

        # The gradient of w_t (F(y-, t) - F(y+, t)); y- and y+ count as constants.
        batch_size = self.config.training.batch_size
        dropout = self.dropout_of(batch.seed, batch.first, batch_size + batch.first)
        with tf.GradientTape() as tape:
            gap = self.gap(y_pos, y_neg, level, batch.labels, dropout)
            losses = per_image(weight * self._weights_of_levels, level) * gap
            loss = tf.reduce_sum(losses) / batch_size
        self.level_means['contrastive'].update_state(gap, level)
        self.level_means['displacement'].update_state(rms(y_neg - start), level)
        return {'loss': (loss, tape.gradient(loss, self.network.trainable_variables))}

    def _at_other_levels(self, batch: Batch) -> Batch:
        """Returns the images with stratified levels among 0..T-1, and a seed that score matching lacks."""
        seed = noise.fold(batch.seed, noise.CONTRAST)
        u = noise.stratified(seed, self.config.training.batch_size)
        levels = tf.cast(u * self.schedule.num_levels, tf.int32)
        mine = tf.slice(levels, [batch.first], [batch.images.shape[0]])
        return dataclasses.replace(batch, level=mine, seed=seed, angle=None)

    def gap(
        self,
        y_pos: tf.Tensor,
        y_neg: tf.Tensor,
        level: tf.Tensor,
        labels: tf.Tensor | None = None,
        dropout: Dropout | None = None,
    ) -> tf.Tensor:
        """Returns F(y-, t) - F(y+, t) in nats with raw weights, float32 [B].

        Args:
          y_pos: data y+ = m_t x_t, float32 [B, H, W, C].
          y_neg: final states of the chains, float32 [B, H, W, C].
          level: t, int32 [B].
          labels: class + 1 or 0 for no class, int32 [B]; None if the model has no classes.
          dropout: applied to `y_pos` and `y_neg` alike; None for no dropout.

        Examples:
          >>> from drl_tf.config.config import Config
          >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
          >>> config = config.replace(energy='preconditioned', act='swish')
          >>> model = NormalisedRecoveryLikelihood(config)
          >>> y = tf.ones([2, 8, 8, 1])
          >>> model.gap(y, y, level=tf.constant([0, 5])).numpy()
          array([0., 0.], dtype=float32)
        """
        both = tf.tile(level, [2])
        labels = None if labels is None else tf.tile(labels, [2])
        x = tf.concat([y_pos, y_neg], axis=0) / at(self.schedule.m, both)
        time = preconditioning.time_of(per_image(self.schedule.angle, both))
        prepared = self.network.prepare(time, labels)
        log_p = self.network(x, prepared, dropout=dropout, remat=self.config.training.remat)
        of_pos, of_neg = tf.split(log_p, 2)
        return of_neg - of_pos
