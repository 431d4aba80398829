"""An energy at each noise level: log densities, and sampling from noise to image (paper, Algorithm 2)."""

import contextlib
import math

import keras
import numpy as np
import tensorflow as tf

from drl_tf.core import diffusion, graphs, noise, preconditioning, sampling
from drl_tf.core.diffusion import at, per_image
from drl_tf.core.guidance import UNCONDITIONAL
from drl_tf.core.langevin import value_gradient
from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.core.networks.mlp import MLPNetwork
from drl_tf.core.networks.unet import Size, UNetEnergy
from drl_tf.core.weights import Weights


def _call(function, arguments):
    return function(*arguments)


class EnergyModel(keras.Model):
    """log p(y, t) = F(y, t) + const with F = f / delta_t^2, or f / s_{t+1}^2; or a preconditioned log p.

    Args:
      config: a `config.Config`; sampling takes K and noise scale from it. The networks compute in bfloat16
        where its precision says so, else in float32.

    Attributes:
      schedule: the `diffusion.Schedule` of the levels that have an energy.
      walk: that of the levels that sampling visits.
      precision: F / f of each level, float64 [T]; 1 for preconditioned energies.
      preconditioned: whether F is a normalised log density, at all T + 1 noise levels.
      averages: pairs of networks, the one with averaged weights first.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        make_schedule = diffusion.SCHEDULES[config.diffusion.schedule]
        self.schedule = make_schedule(config.diffusion.num_levels, config.diffusion.b2)
        self.walk = self.schedule.strided(config.sampling.sampling_levels)
        by_noise = config.diffusion.energy_scale == 'noise'
        self.precision = self.schedule.s[1:] ** -2 if by_noise else self.schedule.delta**-2
        self.preconditioned = config.network.energy == 'preconditioned'
        if self.preconditioned:
            self.precision = np.ones(self.schedule.num_levels)
        self.network_dtype = 'mixed_bfloat16' if config.training.precision == 'bfloat16' else 'float32'
        self.network, self.ema_network = self._with_average(self._energy_network, 'network')
        self.averages = [(self.ema_network, self.network)]
        self.built = True

    def _energy_network(self, name):
        """The network of the energies, preconditioned or not."""
        options = self.config.network
        inputs = (self.config.image_shape, self.config.data.num_classes)
        zero = {'starts_at_zero': True} if self.preconditioned else {}
        inner = f'{name}_e' if self.preconditioned else name
        if options.network == 'unet':
            size = Size(
                channels=options.channels,
                mult=options.channel_mult,
                blocks=options.num_res_blocks,
                attention=options.attention,
                dropout=options.dropout,
            )
            network = UNetEnergy(size, *inputs, dtype=self.network_dtype, name=inner)
        else:
            network_class = MLPNetwork if self.config.planar else EnergyNetwork
            network = network_class(options, *inputs, dtype=self.network_dtype, name=inner, **zero)
        if not self.preconditioned:
            return network
        data = self.config.data
        return preconditioning.PreconditionedEnergy(
            network,
            self.config.image_shape,
            data.data_mean or (0.0,),
            data.data_std or 0.5,
            dtype=self.network_dtype,
            name=name,
        )

    def _with_average(self, make, name):
        """A network and the one that holds its averaged weights, equal at the start.

        Args:
          make: callable, name -> the network.
          name: of the network; that of the averages has the prefix `ema_`.
        """
        network = make(name)
        average = make(f'ema_{name}')
        average.trainable = False
        average.set_weights(network.get_weights())
        return network, average

    def network_of(self, weights):
        """The network with these weights, 'ema' or 'raw'."""
        return Weights(weights).of(self.ema_network, self.network)

    def density_at(self, level, weights='ema', terms=UNCONDITIONAL):
        """The log density of each image at its own level.

        Args:
          level: t, int32 [B].
          weights: 'ema' or 'raw'.
          terms: guidance, (labels, weight) pairs; see `guidance.guided` and `guidance.composed`.

        Returns:
          A callable, y float32 [B, H, W, C] -> F(y, t) float32 [B].
        """
        if self.preconditioned:
            return self._normalised_at(self.schedule, level, weights, terms)
        network = self.network_of(weights)
        time = per_image(self.schedule.time, level)
        precision = per_image(self.precision, level)
        parts = [(weight, network.prepare(time, labels)) for labels, weight in terms]
        return lambda y: precision * tf.add_n([weight * network(y, prepared) for weight, prepared in parts])

    def _normalised_at(self, walk, level, weights, terms):
        """As `density_at`, for the levels of a walk: log p(y_t) = log p(x_t) - D log m_t of y_t = m_t x_t."""
        log_prob = self.log_prob_at(per_image(walk.angle, level), weights, terms)
        m = at(walk.m, level)
        log_m = per_image(math.prod(self.config.image_shape) * np.log(walk.m), level)
        return lambda y: log_prob(y / m) - log_m

    def log_prob_at(self, angle, weights='ema', terms=UNCONDITIONAL):
        """The log density of noisy images at any noise level, of preconditioned energies.

        Args:
          angle: noise level of each image, as in `Schedule.angle`, float32 [B].
          weights, terms: as in `density_at`.

        Returns:
          A callable, x float32 [B, H, W, C] -> log p(x) in nats, float32 [B].
        """
        network = self.network_of(weights)
        time = preconditioning.time_of(angle)
        parts = [(weight, network.prepare(time, labels)) for labels, weight in terms]
        return lambda x: tf.add_n([weight * network(x, prepared) for weight, prepared in parts])

    def chain_start(self, x_next, level, seed, first, weights, terms, training=False, walk=None):
        """Where the chains start, and the mean of that proposal.

        Args:
          x_next: x_{t+1}, float32 [B, H, W, C].
          level: t of the walk, int32 [B].
          seed: int32 [2].
          first: index of the first image.
          weights, terms: as in `density_at`.
          training: whether the networks drop activations.
          walk: the `diffusion.Schedule` that `level` is of; all levels where None.

        Returns:
          y^0 and its mean, like `x_next`: both x_{t+1}, or `sampling.posterior_proposal`.
        """
        del training
        if self.config.diffusion.proposal == 'x_next':
            return x_next, x_next
        walk = walk or self.schedule
        eps = noise.normal(seed, tf.shape(x_next), first)
        score = self._score(walk, x_next, level + 1, weights, terms)
        return sampling.posterior_proposal(walk, score, x_next, level, eps)

    def _score(self, walk, x, index, weights, terms):
        """grad log p(x) at noise `index` of a walk, int32 [B] up to its T."""
        if self.preconditioned:
            return value_gradient(self.log_prob_at(per_image(walk.angle, index), weights, terms), x)
        below = tf.minimum(index, walk.num_levels - 1)
        density_at = sampling.on_walk(
            self.schedule, walk, lambda level: self.density_at(level, weights, terms)
        )
        log_density = density_at(below)
        score = value_gradient(lambda x: log_density(at(walk.m, below) * x), x)
        # The top noise has no energy: it is white.
        return tf.where((index > below)[:, None, None, None], -x, score)

    @graphs.graph
    def denoise(self, x_next, level, seed, first=0, weights='ema', terms=UNCONDITIONAL):
        """Draws x_t given x_{t+1}, each image at its own trained level; see `sampling.Sampler.recover`."""
        return self._sampler(self.schedule, first, weights, terms).recover(x_next, level, seed)

    @graphs.graph
    def prior(self, num_images, seed, first):
        """x_T, white noise."""
        return noise.normal(seed, [num_images, *self.config.image_shape], first)

    @graphs.graph
    def walk_levels(self, x, high, low, seed, first, weights, terms):
        """Goes from x_high down to x_low, levels of the walk; see `sampling.Sampler.descend`."""
        return self._sampler(self.walk, first, weights, terms).descend(x, high, low, seed)

    def _sampler(self, walk, first, weights, terms):
        """Algorithm 2 over the levels of a walk."""

        def start_at(x_next, level, seed):
            seed = noise.fold(seed, noise.START)
            return self.chain_start(x_next, level, seed, first, weights, terms, walk=walk)[0]

        def density_at(level):
            if self.preconditioned:
                return self._normalised_at(walk, level, weights, terms)
            return sampling.on_walk(
                self.schedule, walk, lambda level: self.density_at(level, weights, terms)
            )(level)

        options = self.config.sampling
        return sampling.Sampler(
            schedule=walk,
            density_at=density_at,
            start_at=start_at,
            steps_at=lambda level: self.steps_at(tf.gather(walk.levels, level)),
            noise_scale=options.noise_scale,
            step_scale=options.step_scale,
            first=first,
        )

    def steps_at(self, level):
        """K of each image, int32 [B]; where no level has a chain, the int 0 for the normal approximation, or
        None to end at the proposal."""
        steps = self.config.steps_by_level
        if any(steps):
            return tf.gather(steps, level)
        return 0 if self.config.diffusion.proposal == 'x_next' else None

    @graphs.graph
    def final_denoise(self, x_0, weights='ema', terms=UNCONDITIONAL):
        """The mean of the clean image given x_0; see `sampling.tweedie`."""
        level = tf.zeros([tf.shape(x_0)[0]], tf.int32)
        return sampling.tweedie(self.schedule, self.density_at(level, weights, terms), x_0)

    def sample(
        self,
        num_images,
        seed,
        first=0,
        weights='ema',
        terms=UNCONDITIONAL,
        run=_call,
        after_part=lambda share: None,
    ):
        """Progressive sampling from white noise (paper, Algorithm 2).

        Args:
          num_images: n.
          seed: int32 [2].
          first: index of the first image; image i depends on (seed, first + i) alone.
          weights: 'ema' or 'raw'.
          terms: for models with classes, what is summed; see `guidance.guided` and `guidance.composed`.
          run: callable, (function, arguments) -> its result, such as the `run` of a `tf.distribute.Strategy`:
            each replica then draws n images, and `first` and the labels may hold a value for each.
          after_part: as in `sampling.progressive`.

        Returns:
          States from x_T to x_0, tensors float32 [n, H, W, C]: all T + 1, or nine of them where T is large;
          with `final_denoise` the last one is the clean image.
        """

        def descend(x, high, low):
            return run(
                self.walk_levels, (x, tf.constant(high), tf.constant(low), seed, first, weights, terms)
            )

        x = run(self.prior, (num_images, noise.fold(seed, noise.PRIOR), first))
        trajectory = sampling.progressive(descend, x, self.walk.num_levels, after_part)
        if self.config.diffusion.final_denoise:
            trajectory[-1] = run(self.final_denoise, (trajectory[-1], weights, terms))
        return trajectory

    @contextlib.contextmanager
    def converged_average(self):
        """Context manager: u of the averaged weights is iterated to convergence, and restored at the end."""
        layers = self.ema_network.normalised_layers()
        before = [tf.identity(layer.u.value) for layer in layers]
        self.ema_network.converge_u()
        try:
            yield
        finally:
            for layer, u in zip(layers, before, strict=True):
                layer.u.assign(u)
