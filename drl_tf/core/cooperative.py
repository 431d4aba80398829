"""Cooperative diffusion recovery likelihood (Zhu, Xie, Wu, Gao, ICLR 2024): a second network proposes where
the chains start."""

import numpy as np
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.diffusion import at, per_image, posterior_mean
from drl_tf.core.level_mean import LevelMean
from drl_tf.core.model import RecoveryLikelihood
from drl_tf.core.networks.initializer import Initializer


class CooperativeRecoveryLikelihood(RecoveryLikelihood):
    """A `RecoveryLikelihood` whose chains start at y^0 = g(x_{t+1}, t) + sqrt(beta~_{t+1}) m_t z instead of
    at x_{t+1}.

    The tether stays at x_{t+1}. The initializer g learns from where the chains end, with an optimizer of its
    own, `initializer_optimizer`, which is set before training.
    """

    def __init__(self, config, attempt=0):
        super().__init__(config, attempt)
        self.initializer, self.ema_initializer = self._with_average(
            Initializer, config.initializer, 'initializer'
        )
        self.averages = [*self.averages, (self.ema_initializer, self.initializer)]
        self.level_means = {
            **self.level_means,
            'initializer_loss': LevelMean(self.schedule.num_levels, name='initializer_loss'),
        }

    @property
    def learners(self):
        return {**super().learners, 'initializer_loss': (self.initializer, self.initializer_optimizer)}

    @property
    def proposal_std(self):
        """sqrt(beta~_{t+1}) m_t with beta~_{t+1} = (1 - A_t^2) / (1 - A_{t+1}^2) s_{t+1}^2, float64 [T]."""
        S = self.schedule.S
        return S[:-1] / S[1:] * self.schedule.s[1:] * self.schedule.m

    def chain_start(self, x_next, level, seed, first, weights, terms, training=False):
        """y^0 and its mean g, float32 [B, H, W, C]; g sums the same terms as the energy."""
        network = {'ema': self.ema_initializer, 'raw': self.initializer}[weights]
        dropout, remat = (
            (noise.Dropout(noise.fold(seed, noise.DROPOUT), (first,)), self.config.training.remat)
            if training
            else (None, False)
        )
        time = per_image(self.schedule.time, level + 1)
        mean = tf.add_n(
            [weight * network(x_next, time, labels, dropout=dropout, remat=remat) for labels, weight in terms]
        )
        return mean + at(self.proposal_std, level) * noise.normal(seed, tf.shape(x_next), first), mean

    def start_gradients(self, tape, start, proposal, images, x_next, y_neg, level):
        """Of the sum over the pixels of (y^K - y^0)^2, or in part of (E[y_t | x, x_{t+1}] - g)^2, through g
        alone."""
        options = self.config.initializer
        weight = (
            self.schedule.s[1:] ** -2
            if options.initializer_level_weight
            else np.ones(self.schedule.num_levels)
        )
        y_mean = at(self.schedule.m, level) * posterior_mean(self.schedule, images, x_next, level)
        with tape:
            losses = initializer_loss(
                start, proposal, y_mean, y_neg, options.initializer_data_share
            ) * per_image(weight, level)
            loss = tf.reduce_sum(losses) / self.config.training.batch_size
        self.level_means['initializer_loss'].update_state(losses, level)
        return {'initializer_loss': (loss, tape.gradient(loss, self.initializer.trainable_variables))}


def initializer_loss(start, proposal, y_mean, y_neg, data_share):
    """(1 - share) |y^K - y^0|^2 + share |E[y_t | x, x_{t+1}] - g|^2 of each image, float32 [B]; g alone is
    taught.

    The minimum of the second term is E[y_t | x_{t+1}], around which beta~_{t+1} is the variance that a known
    x would leave.
    """

    def distance(target, guess):
        return tf.reduce_sum((tf.stop_gradient(target) - guess) ** 2, axis=[1, 2, 3])

    return (1 - data_share) * distance(y_neg, start) + data_share * distance(y_mean, proposal)


def build_model(config, attempt=0):
    """The model of a configuration: cooperative where it has an initializer. For `attempt` see
    `RecoveryLikelihood`."""
    model_class = CooperativeRecoveryLikelihood if config.diffusion.initializer else RecoveryLikelihood
    return model_class(config, attempt)
