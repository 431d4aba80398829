"""Cooperative recovery likelihood: a second network proposes where the chains start (CDRL, ICLR 2024)."""

from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core import noise, objectives
from drl_tf.core.batch import Batch
from drl_tf.core.denoising import posterior_mean
from drl_tf.core.diffusion import at, per_image
from drl_tf.core.level_mean import LevelMean
from drl_tf.core.networks.unet import Initializer, Size
from drl_tf.core.noise import Seed
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.core.sampling import Draw
from drl_tf.core.weight_updates import Learner, LossesAndGradients
from drl_tf.core.weights import Weights, with_average


class CooperativeRecoveryLikelihood(RecoveryLikelihood):
    """A `RecoveryLikelihood` in which a second network, the initializer g, proposes where chains start.

    A chain that draws y_t given x_{t+1} starts at y^0 = g(x_{t+1}, t) + b_t z. Here y_t is the scaled noisy
    image at level t, x_{t+1} the noisy image one level above, and z ~ N(0, I). b_t is the standard deviation
    of y_t given x_{t+1} and the clean image (Zhu, Xie, Wu, Gao, ICLR 2024, section 3.2). g learns from the
    last states of the chains. Before training, set the attribute `initializer_optimizer`, the optimizer of g.

    Args:
      config: the configuration of the model, a `config.Config`.
      attempt: how often training went back to an earlier checkpoint; after each return it draws new noise.

    Examples:
      Before training, g(x_{t+1}, t) = x_{t+1}.

      >>> from drl_tf.config.config import Config
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> config = config.replace(initializer=True, initializer_channels=8, initializer_blocks=1)
      >>> model = CooperativeRecoveryLikelihood(config)
      >>> x_next, level = tf.ones([2, 8, 8, 1]), tf.constant([0, 5])
      >>> start, mean = model.chain_start(x_next, level, [0, 1], Draw())
      >>> bool(tf.reduce_all(mean == x_next))
      True
    """

    def __init__(self, config: Any, attempt: int = 0) -> None:
        super().__init__(config, attempt)
        options = config.initializer
        size = Size(
            channels=options.initializer_channels,
            mult=options.initializer_mult,
            blocks=options.initializer_blocks,
            attention=options.initializer_attention,
            dropout=options.initializer_dropout,
        )

        def make(name: str) -> Initializer:
            return Initializer(
                size, config.image_shape, config.data.num_classes, dtype=self.network_dtype, name=name
            )

        self.initializer, self.ema_initializer = with_average(make, 'initializer')
        self.averages = [*self.averages, (self.ema_initializer, self.initializer)]
        mean = LevelMean(self.schedule.num_levels, name='initializer_loss')
        self.level_means = {**self.level_means, 'initializer_loss': mean}

    @property
    def learners(self) -> dict[str, Learner]:
        """{name of a loss: (network that the loss trains, its optimizer)}.

        'loss' trains the energy network, and 'initializer_loss' trains the initializer g. The model must be
        compiled, and its attribute `initializer_optimizer` must be set.
        """
        return {**super().learners, 'initializer_loss': (self.initializer, self.initializer_optimizer)}

    def chain_start(
        self,
        x_next: tf.Tensor,
        level: tf.Tensor,
        seed: Seed,
        draw: Draw,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y^0, the first states of the chains that draw y_t given x_{t+1}, and the mean of y^0.

        Chains move y_t = m_t x_t, the image x_t scaled by the attribute m of the schedule. The mean is the
        proposal g(x_{t+1}, t) of the initializer g. y^0 is the mean plus noise.

        Args:
          x_next: x_{t+1}, noisy images one level above x_t, float32 [B, H, W, C].
          level: noise level t of each image, 0 to T - 1, int32 [B].
          seed: random seed, int32 [2]; the noise of image i depends on (seed, draw.first + i) only.
          draw: which images, and how. The mean is the weighted sum of the proposals for the labels in its
            `terms`. Its `walk` is ignored; the noise levels are those of the attribute `schedule`.
          training: True switches dropout on.

        Returns:
          y^0 and its mean, both float32 [B, H, W, C].
        """
        network = Weights(draw.weights).of(self.ema_initializer, self.initializer)
        dropout = noise.Dropout(noise.fold(seed, noise.DROPOUT), (draw.first,)) if training else None
        remat = training and self.config.training.remat
        time = per_image(self.schedule.time, level + 1)
        proposals = [
            (tf.cast(weight, tf.float32), network(x_next, time, labels, dropout=dropout, remat=remat))
            for labels, weight in draw.terms
        ]
        mean = tf.add_n([tf.reshape(weight, [-1, 1, 1, 1]) * proposed for weight, proposed in proposals])
        z = noise.normal(seed, tf.shape(x_next), draw.first)
        return mean + at(self.schedule.posterior_std, level) * z, mean

    def start_gradients(
        self,
        tape: tf.GradientTape,
        batch: Batch,
        start: tf.Tensor,
        proposal: tf.Tensor,
        x_next: tf.Tensor,
        y_neg: tf.Tensor,
    ) -> LossesAndGradients:
        """Computes the loss of the initializer g and its gradients; training calls this after the chains.

        The loss of one image is (1 - s) |y^K - y^0|^2 + s |E[y_t | x, x_{t+1}] - g|^2. Here y^K is the last
        state of the chain, E[..] the mean of the scaled noisy image y_t given the clean image x and x_{t+1},
        and s the option `initializer_data_share`. With the option `initializer_level_weight`, the loss of
        level t is divided by the variance of the noise that turns x_t into x_{t+1}.

        Args:
          tape: the gradient tape that recorded how g computed `proposal`.
          batch: some of this replica's training images, with their noise levels t.
          start: y^0, the first states of the chains, float32 [B, H, W, C].
          proposal: g(x_{t+1}, t), the mean of y^0, float32 [B, H, W, C].
          x_next: x_{t+1}, the noisy training images one level above x_t, float32 [B, H, W, C].
          y_neg: the last states of the chains, float32 [B, H, W, C].

        Returns:
          {'initializer_loss': (loss, gradients)}. loss: the sum over `batch` divided by the global batch
          size, float32 []. gradients: one tensor for each trainable variable of g.
        """
        options = self.config.initializer
        schedule = self.schedule
        weight = np.ones(schedule.num_levels)
        if options.initializer_level_weight:
            weight = schedule.s[1:] ** -2
        x_mean = posterior_mean(schedule, batch.images, x_next, batch.level)
        y_mean = at(schedule.m, batch.level) * x_mean
        with tape:
            losses = objectives.initializer(start, proposal, y_mean, y_neg, options.initializer_data_share)
            losses *= per_image(weight, batch.level)
            loss = tf.reduce_sum(losses) / self.config.training.batch_size
        self.level_means['initializer_loss'].update_state(losses, batch.level)
        return {'initializer_loss': (loss, tape.gradient(loss, self.initializer.trainable_variables))}
