"""Trains preconditioned energies by recovery likelihood, with or without score matching."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core import conditionals, correctors, graphs, noise, preconditioning, sampling
from drl_tf.core.batch import Batch
from drl_tf.core.diffusion import Schedule, per_image
from drl_tf.core.level_mean import LevelMean
from drl_tf.core.noise import Dropout, Seed
from drl_tf.core.score_matching import ScoreMatching
from drl_tf.core.weight_updates import LossesAndGradients
from drl_tf.core.weights import Weights


def level_weights(schedule: Schedule) -> np.ndarray:
    """Returns the weight w_t of the contrastive loss at each level t, float64 [T].

    w_t = L_{T-1} / L_t, where L_t is a bound on the curvature of log p(y_t | x_{t+1}), the density that a
    chain at level t draws from; `correctors.curvature` computes it. At low noise, L_t is large, and a small
    change of the network changes log p by thousands of nats. The weights keep these levels from outweighing
    the others.

    Args:
      schedule: the noise levels and their constants, a `Schedule`.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> level_weights(diffusion.karras()).round(4).tolist()
      [0.0001, 0.0077, 0.0652, 0.1354, 0.1818, 1.0]
    """
    L = correctors.curvature(schedule)
    return L[-1] / L


class NormalisedRecoveryLikelihood(ScoreMatching):
    """A model with normalised energies that learns by recovery likelihood (paper, Algorithm 1).

    The contrastive loss of an image at level t is w_t (F(y-, t) - F(y+, t)). F(y, t) is the log density of
    the model, and w_t the weight of level t that `level_weights` returns. y+ is a noisy training image. y- is
    the last state of a chain that draws from the model, given the training image with one more step of noise.

    With the option objective='contrastive', this is the only loss. With objective='score_matching', the loss
    is that of score matching. From step `contrastive_after` on (an option), training adds the contrastive
    loss, multiplied by the option `contrastive`.

    Args:
      config: the configuration of the model, a `config.Config` with energy='preconditioned'.
      attempt: how often training went back to an earlier checkpoint; after each return it draws new noise.

    Attributes:
      level_means: {name: mean of a logged value at each noise level, a `LevelMean`}. 'contrastive' is
        F(y-, t) - F(y+, t) in nats. 'acceptance' is the acceptance probability of the chains' steps, and
        'displacement' the root mean square of last state minus first state. With
        objective='score_matching', there are also values of score matching, such as its 'loss'.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> config = config.replace(energy='preconditioned', objective='score_matching', act='swish')
      >>> list(NormalisedRecoveryLikelihood(config.replace(contrastive=0.01)).level_means)
      ['loss', 'gradient_norm', 'contrastive', 'acceptance', 'displacement']
    """

    def __init__(self, config: Any, attempt: int = 0) -> None:
        super().__init__(config, attempt)
        self._weights_of_levels = level_weights(self.schedule)
        means = {
            name: LevelMean(self.schedule.num_levels, name=name)
            for name in ('contrastive', *sampling.Info._fields)
        }
        self.level_means = {**self.level_means, **means}

    def noted(self) -> tuple[str, ...]:
        """Returns the names of the values that score matching logs for each noise level, such as 'loss'.

        With objective='contrastive' there are none: (). With either objective, training also logs
        values of the contrastive loss, such as 'acceptance'. They are not in the result.
        """
        return super().noted() if self._matches_scores else ()

    @property
    def _matches_scores(self) -> bool:
        return self.config.training.objective == 'score_matching'

    def losses_and_gradients(self, batch: Batch) -> LossesAndGradients:
        """Computes the loss of a batch and its gradients.

        Args:
          batch: some of this replica's training images, with their noise levels.

        Returns:
          {'loss': (loss, gradients)}. loss: the sum over `batch` divided by the global batch size,
          float32 []. gradients: one tensor for each trainable variable of `network`.
        """
        if not self._matches_scores:
            return self._recover(batch, 1.0)
        options = self.config.training
        anchor = super().losses_and_gradients(batch)
        more = tf.cond(
            self.steps_taken >= options.contrastive_after,
            lambda: self._recover(batch, options.contrastive),
            lambda: tf.nest.map_structure(tf.zeros_like, anchor),
        )
        return tf.nest.map_structure(tf.add, anchor, more)

    def _recover(self, batch: Batch, weight: float) -> LossesAndGradients:
        """Computes the loss of recovery likelihood, times `weight`, and its gradients."""
        batch = self._at_other_levels(batch)
        level = batch.level

        # Positive pairs (x_t, x_{t+1}).
        x_t, x_next = self._forward_pair(batch)

        # Negatives: the chains that sampling would run from x_{t+1}.
        x_neg, info = self.negatives(x_next, level, batch.seed, batch.first, batch.labels)

        # The gradient of w_t (F(y-, t) - F(y+, t)) in the weights; y- and y+ count as constants.
        batch_size = self.config.training.batch_size
        dropout = self.dropout_of(batch.seed, batch.first, batch_size + batch.first)
        with tf.GradientTape() as tape:
            gap = self.gap(x_t, x_neg, level, batch.labels, dropout)
            losses = per_image(weight * self._weights_of_levels, level) * gap
            loss = tf.reduce_sum(losses) / batch_size
        self.level_means['contrastive'].update_state(gap, level)
        for name, value in info._asdict().items():
            self.level_means[name].update_state(value, level)
        return {'loss': (loss, tape.gradient(loss, self.network.trainable_variables))}

    def _at_other_levels(self, batch: Batch) -> Batch:
        """Returns the batch with stratified levels in 0..T-1, and a seed that score matching does not use."""
        seed = noise.fold(batch.seed, noise.CONTRAST)
        u = noise.stratified(seed, self.config.training.batch_size)
        levels = tf.cast(u * self.schedule.num_levels, tf.int32)
        mine = tf.slice(levels, [batch.first], [batch.images.shape[0]])
        return dataclasses.replace(batch, level=mine, seed=seed, angle=None)

    @graphs.graph
    def negatives(
        self,
        x_next: tf.Tensor,
        level: tf.Tensor,
        seed: Seed,
        first: int | tf.Tensor,
        labels: tf.Tensor | None,
    ) -> tuple[tf.Tensor, sampling.Info]:
        """Draws negatives x_t for the contrastive loss, by chains on p(y_t | x_{t+1}) of the model.

        x_t is an image with the noise of level t, y_t = m_t x_t, and x_{t+1} the image one level above. The
        options `proposal` and `contrastive_corrector` choose the start and the kind of the chains. The chains
        use the raw weights. The option `noise_scale`, a factor of the noise in sampling, has no effect here.

        Args:
          x_next: x_{t+1}, float32 [B, H, W, C].
          level: noise level t of each image, 0 to T - 1, int32 [B].
          seed: random seed, int32 [2].
          first: index of the first image; the noise of image i depends on (seed, first + i) only.
          labels: class + 1 of each image, or 0 for no class, int32 [B]; None if the model has no classes.

        Returns:
          x_t: the negatives, float32 [B, H, W, C].
          info: acceptance and displacement of each chain, each float32 [B], a `sampling.Info`.

        Examples:
          >>> from drl_tf.config.config import Config
          >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
          >>> config = config.replace(energy='preconditioned', act='swish', mcmc_steps=(2,))
          >>> model = NormalisedRecoveryLikelihood(config)
          >>> model.negatives(tf.ones([2, 8, 8, 1]), tf.constant([0, 5]), [0, 1], 0, None)[0].shape
          TensorShape([2, 8, 8, 1])
        """
        terms = ((labels, 1.0),)

        def start_at(x_next: tf.Tensor, level: tf.Tensor, seed: Seed) -> tf.Tensor:
            seed = noise.fold(seed, noise.START)
            draw = sampling.Draw(first, Weights.RAW, terms)
            return self.chain_start(x_next, level, seed, draw, training=True)[0]

        q = self.config.training.contrastive_step
        sampler = sampling.Sampler(
            schedule=self.schedule,
            density_at=lambda level: self.density_at(level, Weights.RAW, terms),
            start_at=start_at,
            steps_at=lambda level: conditionals.steps_at(self.config, level),
            corrector=self.config.negatives,
            corrector_steps=tf.fill([self.schedule.num_levels], q) if q else None,
            first=first,
        )
        return sampler.recover(x_next, level, seed)

    def gap(
        self,
        x_pos: tf.Tensor,
        x_neg: tf.Tensor,
        level: tf.Tensor,
        labels: tf.Tensor | None = None,
        dropout: Dropout | None = None,
    ) -> tf.Tensor:
        """Returns log p(x-) - log p(x+) in nats for negatives x- and noisy training images x+, float32 [B].

        Args:
          x_pos: x+, noisy training images at level t, float32 [B, H, W, C].
          x_neg: x-, images drawn from the model at the same levels, float32 [B, H, W, C].
          level: noise level t of each pair, 0 to T - 1, int32 [B].
          labels: class + 1 of each pair, or 0 for no class, int32 [B]; None if the model has no classes.
          dropout: `noise.Dropout`, applied to `x_pos` and `x_neg` alike; None for no dropout.

        Examples:
          >>> from drl_tf.config.config import Config
          >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
          >>> model = NormalisedRecoveryLikelihood(config.replace(energy='preconditioned', act='swish'))
          >>> x = tf.ones([2, 8, 8, 1])
          >>> model.gap(x, x, level=tf.constant([0, 5])).numpy()
          array([0., 0.], dtype=float32)
        """
        angle = per_image(self.schedule.angle, tf.tile(level, [2]))
        labels = None if labels is None else tf.tile(labels, [2])
        prepared = self.network.prepare(preconditioning.time_of(angle), labels)
        both = tf.concat([x_pos, x_neg], axis=0)
        log_p = self.network(both, prepared, dropout=dropout, remat=self.config.training.remat)
        of_pos, of_neg = tf.split(log_p, 2)
        return of_neg - of_pos
