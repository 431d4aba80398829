"""Cooperative recovery likelihood: a second network proposes where the chains start (CDRL, ICLR 2024)."""

import numpy as np
import tensorflow as tf

from drl_tf.core import noise, objectives
from drl_tf.core.diffusion import at, per_image, posterior_mean
from drl_tf.core.level_mean import LevelMean
from drl_tf.core.model import RecoveryLikelihood
from drl_tf.core.networks.unet import Initializer, Size
from drl_tf.core.weights import Weights


class CooperativeRecoveryLikelihood(RecoveryLikelihood):
    """A `RecoveryLikelihood` whose chains start at y^0 = g(x_{t+1}, t) + sqrt(beta~_{t+1}) m_t z.

    The tether stays at x_{t+1}. The initializer g learns from where the chains end. Its own
    optimizer, `initializer_optimizer`, is set before training (Zhu, Xie, Wu, Gao, ICLR 2024, section 3.2).
    """

    def __init__(self, config, attempt=0):
        super().__init__(config, attempt)
        options = config.initializer
        size = Size(
            channels=options.initializer_channels,
            mult=options.initializer_mult,
            blocks=options.initializer_blocks,
            attention=options.initializer_attention,
            dropout=options.initializer_dropout,
        )

        def make(name):
            return Initializer(
                size, config.image_shape, config.data.num_classes, dtype=self.network_dtype, name=name
            )

        networks = self._with_average(make, 'initializer')
        self.initializer, self.ema_initializer = networks
        self.averages = [*self.averages, (self.ema_initializer, self.initializer)]
        mean = LevelMean(self.schedule.num_levels, name='initializer_loss')
        self.level_means = {**self.level_means, 'initializer_loss': mean}

    @property
    def learners(self):
        return {**super().learners, 'initializer_loss': (self.initializer, self.initializer_optimizer)}

    def chain_start(self, x_next, level, seed, first, weights, terms, training=False, walk=None):
        """y^0 and its mean g, float32 [B, H, W, C]; g sums the same terms as the energy."""
        network = Weights(weights).of(self.ema_initializer, self.initializer)
        dropout = noise.Dropout(noise.fold(seed, noise.DROPOUT), (first,)) if training else None
        options = dict(dropout=dropout, remat=training and self.config.training.remat)
        time = per_image(self.schedule.time, level + 1)
        mean = tf.add_n([weight * network(x_next, time, labels, **options) for labels, weight in terms])
        return mean + at(self.schedule.posterior_std, level) * noise.normal(
            seed, tf.shape(x_next), first
        ), mean

    def start_gradients(self, tape, batch, start, proposal, x_next, y_neg):
        """The loss of the initializer, `objectives.initializer`, and its gradients."""
        options = self.config.initializer
        schedule = self.schedule
        by_noise = options.initializer_level_weight
        weight = schedule.s[1:] ** -2 if by_noise else np.ones(schedule.num_levels)
        x_mean = posterior_mean(schedule, batch.images, x_next, batch.level)
        y_mean = at(schedule.m, batch.level) * x_mean
        with tape:
            losses = objectives.initializer(start, proposal, y_mean, y_neg, options.initializer_data_share)
            losses *= per_image(weight, batch.level)
            loss = tf.reduce_sum(losses) / self.config.training.batch_size
        self.level_means['initializer_loss'].update_state(losses, batch.level)
        return {'initializer_loss': (loss, tape.gradient(loss, self.initializer.trainable_variables))}
