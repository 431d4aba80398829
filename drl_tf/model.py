"""The model: an energy network, a noise schedule and a Langevin loop, trained by recovery likelihood (paper, Algorithm 1)."""

import contextlib

import keras
import tensorflow as tf

from drl_tf import diffusion, noise, sampling
from drl_tf.diffusion import at
from drl_tf.networks.energy import EnergyNetwork


class LevelMean(keras.metrics.Metric):
    """Mean of a value per image over the images of each level, float32 [T] (NaN where a level had none)."""

    def __init__(self, num_levels, **kwargs):
        super().__init__(**kwargs)
        self.total = self.add_variable((num_levels,), 'zeros', name='total')
        self.count = self.add_variable((num_levels,), 'zeros', name='count')

    def update_state(self, values, level):
        num_levels = self.total.shape[0]
        self.total.assign_add(tf.math.unsorted_segment_sum(values, level, num_levels))
        self.count.assign_add(tf.math.unsorted_segment_sum(tf.ones_like(values), level, num_levels))

    def result(self):
        return self.total / self.count


class RecoveryLikelihood(keras.Model):
    """An energy-based model at each noise level: log p(y, t) = F(y, t) + const, F = f / delta_t^2.

    Train it with Keras `fit` on batches of images, float32 [B, H, W, C] in [-1, 1].

    Args:
      config: a `config.Config`.
      precision: 'float32' or 'bfloat16', the type that the network computes in.
    """

    def __init__(self, config, precision='float32'):
        super().__init__()
        self.config = config
        self.schedule = diffusion.t6(config.diffusion.num_levels)
        dtype = 'mixed_bfloat16' if precision == 'bfloat16' else 'float32'
        self.network = EnergyNetwork(config.network, config.image_shape, dtype=dtype, name='network')
        self.ema_network = EnergyNetwork(config.network, config.image_shape, dtype=dtype, name='ema_network')
        self.ema_network.trainable = False
        for average, weight in zip(self.ema_network.weights, self.network.weights, strict=True):
            average.assign(weight)
        names = ('loss', 'f_pos', 'f_neg', 'displacement', 'gradient_norm')
        self.level_means = {name: LevelMean(self.schedule.num_levels, name=name) for name in names}
        self.built = True

    def density_at(self, level, weights='ema'):
        """The log density of each image at its own level.

        Args:
          level: t, int32 [B].
          weights: 'ema' or 'raw'.

        Returns:
          A callable, y float32 [B, H, W, C] -> F(y, t) float32 [B].
        """
        network = {'ema': self.ema_network, 'raw': self.network}[weights]
        prepared = network.prepare(level)
        precision = tf.gather(tf.constant(self.schedule.delta**-2, tf.float32), level)
        return lambda y: network(y, prepared) * precision

    @contextlib.contextmanager
    def converged_average(self):
        """Lends the averaged weights with converged u to what is inside; the training state stays as it was."""
        layers = self.ema_network.normalised_layers()
        before = [tf.identity(layer.u.value) for layer in layers]
        self.ema_network.converge_u()
        yield
        for layer, u in zip(layers, before, strict=True):
            layer.u.assign(u)

    @tf.function
    def denoise(self, x_next, level, seed, num_steps, noise_scale=1.0, first=0, weights='ema'):
        """Draws x_t given x_{t+1} by K Langevin steps; see `sampling.denoise`."""

        def density_at(level):
            return self.density_at(level, weights)

        return sampling.denoise(self.schedule, density_at, x_next, level, seed, num_steps, noise_scale, first)

    def sample(self, num_images, seed, first=0, num_steps=None, noise_scale=None, weights='ema'):
        """Progressive sampling from white noise (paper, Algorithm 2).

        Args:
          num_images: n.
          seed: int32 [2].
          first: index of the first image; image i depends on (seed, first + i) alone.
          num_steps, noise_scale: K and the multiple of the Langevin noise; the configuration's where None.
          weights: 'ema' or 'raw'.

        Returns:
          [x_T, ..., x_0], T + 1 tensors float32 [n, H, W, C].
        """
        num_steps = num_steps or self.config.diffusion.mcmc_steps
        noise_scale = self.config.sampling.noise_scale if noise_scale is None else noise_scale
        first = tf.convert_to_tensor(first)

        def denoise_step(x, level, seed):
            return self.denoise(x, level, seed, num_steps, noise_scale, first, weights)

        x = noise.normal(noise.fold(seed, noise.PRIOR), [num_images, *self.config.image_shape], first)
        return sampling.progressive(denoise_step, x, self.schedule.num_levels, seed)

    def contrastive_loss(self, y_pos, y_neg, level, dropout_seed=None):
        """(s_1 / s_{t+1}) (f(y-, t) - f(y+, t)) of each image.

        Args:
          y_pos: data y+ = m_t x_t, float32 [B, H, W, C].
          y_neg: states of the chains, like `y_pos`.
          level: t, int32 [B].
          dropout_seed: int32 [2]; None drops nothing.

        Returns:
          The loss, f(y+, t) and f(y-, t), each float32 [B].
        """
        prepared = self.network.prepare(tf.tile(level, [2]))
        f = self.network(tf.concat([y_pos, y_neg], axis=0), prepared, dropout_seed)
        f_pos, f_neg = tf.split(f, 2)
        return tf.gather(tf.constant(self.schedule.loss_weight, tf.float32), level) * (f_neg - f_pos), f_pos, f_neg

    def train_step(self, images):
        """One step of Algorithm 1 on a replica's share of the batch, float32 [B, H, W, C] in [-1, 1]."""
        options, step = self.config.training, self.optimizer.iterations.value
        seed = noise.fold([options.seed, 0], step)
        replica = tf.distribute.get_replica_context()
        batch_size = images.shape[0]
        first = replica.replica_id_in_sync_group * batch_size
        level = noise.levels(seed, self.schedule.num_levels, options.batch_size)[first : first + batch_size]

        # Diffuse the images, run the chains.
        y_pos, x_next = self._positive_pairs(images, level, seed, first)
        y_neg, chain_gradient = self._chain(x_next, level, seed, first)

        # Descend the contrastive loss.
        dropout_seed = noise.fold(seed, noise.DROPOUT) if self.config.network.dropout else None
        with tf.GradientTape() as tape:
            losses, f_pos, f_neg = self.contrastive_loss(y_pos, y_neg, level, dropout_seed)
            energy_l2 = options.energy_l2 * (f_pos**2 + f_neg**2) / 2
            loss = tf.reduce_sum(losses + energy_l2) / options.batch_size
        gradients = replica.all_reduce('sum', tape.gradient(loss, self.network.trainable_variables))
        norm = self._apply(gradients, replica.num_replicas_in_sync)

        values = (losses, f_pos, f_neg, _rms(y_neg - x_next), _rms(chain_gradient))
        for mean, value in zip(self.level_means.values(), values, strict=True):
            mean.update_state(value, level)
        return {'loss': replica.all_reduce('sum', loss), 'gradient_norm': norm}

    def _positive_pairs(self, images, level, seed, first):
        """y+ = m_t x_t and x_{t+1}."""
        shape = tf.shape(images)
        eps = noise.normal(noise.fold(seed, noise.FORWARD, 0), shape, first)
        eps_next = None if self.config.training.shared_noise else noise.normal(noise.fold(seed, noise.FORWARD, 1), shape, first)
        x_t, x_next = diffusion.forward_pair(self.schedule, images, level, eps, eps_next)
        return at(self.schedule.m, level) * x_t, x_next

    @tf.function
    def _chain(self, x_next, level, seed, first):
        """K Langevin steps of the weights in training, with noise of full scale."""

        def step_noise(k):
            return noise.normal(noise.fold(seed, noise.LANGEVIN, k), tf.shape(x_next), first)

        density = self.density_at(level, 'raw')
        return sampling.conditional_chain(self.schedule, density, x_next, level, self.config.diffusion.mcmc_steps, step_noise)

    def _apply(self, gradients, num_replicas):
        """Clips, steps the optimizer, then moves u and the averaged weights; returns the norm before clipping."""
        norm = tf.linalg.global_norm(gradients)
        if self.config.training.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.training.clip_norm, norm)
        variables = self.network.trainable_variables
        self.network.update_u()
        self.optimizer.apply([gradient / num_replicas for gradient in gradients], variables)
        n = tf.cast(self.optimizer.iterations.value, tf.float32)
        decay = tf.minimum(self.config.training.ema_decay, (1 + n) / (10 + n))
        for average, weight in zip(self.ema_network.weights, self.network.weights, strict=True):
            average.assign(decay * average + (1 - decay) * weight)
        return norm


def _rms(x):
    """Root mean square over the pixels of each image."""
    return tf.sqrt(tf.reduce_mean(x**2, axis=[1, 2, 3]))
