"""An energy at each noise level: log densities, and sampling from noise to image (paper, Algorithm 2)."""

import contextlib

import keras
import tensorflow as tf

from drl_tf.core import diffusion, graphs, noise, sampling
from drl_tf.core.diffusion import per_image
from drl_tf.core.guidance import UNCONDITIONAL
from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.core.networks.mlp import MLPNetwork
from drl_tf.core.weights import Weights


def _call(function, arguments):
    return function(*arguments)


class EnergyModel(keras.Model):
    """log p(y, t) = F(y, t) + const with F = f / delta_t^2, or f / s_{t+1}^2.

    Args:
      config: a `config.Config`; sampling takes K and noise scale from it. The networks compute in bfloat16
        where its precision says so, else in float32.

    Attributes:
      schedule: the `diffusion.Schedule` of the levels that have an energy.
      walk: that of the levels that sampling visits.
      precision: F / f of each level, float64 [T].
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
        self.network_dtype = 'mixed_bfloat16' if config.training.precision == 'bfloat16' else 'float32'
        network_class = MLPNetwork if config.planar else EnergyNetwork
        self.network, self.ema_network = self._with_average(network_class, config.network, 'network')
        self.averages = [(self.ema_network, self.network)]
        self.built = True

    def _with_average(self, network_class, options, name):
        """A network and the one that holds its averaged weights, equal at the start."""
        shape, classes = self.config.image_shape, self.config.data.num_classes
        network, average = (
            network_class(options, shape, classes, dtype=self.network_dtype, name=n)
            for n in (name, f'ema_{name}')
        )
        average.trainable = False
        average.set_weights(network.get_weights())
        return network, average

    def density_at(self, level, weights='ema', terms=UNCONDITIONAL):
        """The log density of each image at its own level.

        Args:
          level: t, int32 [B].
          weights: 'ema' or 'raw'.
          terms: guidance, (labels, weight) pairs; see `guidance.guided` and `guidance.composed`.

        Returns:
          A callable, y float32 [B, H, W, C] -> F(y, t) float32 [B].
        """
        network = Weights(weights).of(self.ema_network, self.network)
        time = per_image(self.schedule.time, level)
        precision = per_image(self.precision, level)
        parts = [(weight, network.prepare(time, labels)) for labels, weight in terms]
        return lambda y: precision * tf.add_n([weight * network(y, prepared) for weight, prepared in parts])

    def chain_start(self, x_next, level, seed, first, weights, terms, training=False):
        """Where the chains start and the mean of that proposal, float32 [B, H, W, C]: both x_{t+1}."""
        del level, seed, first, weights, terms, training
        return x_next, x_next

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
            return self.chain_start(x_next, level, seed, first, weights, terms)[0]

        def density_at(level):
            return self.density_at(level, weights, terms)

        options = self.config.sampling
        return sampling.Sampler(
            schedule=walk,
            density_at=sampling.on_walk(self.schedule, walk, density_at),
            start_at=start_at,
            steps_at=lambda level: self.steps_at(tf.gather(walk.levels, level)),
            noise_scale=options.noise_scale,
            step_scale=options.step_scale,
            first=first,
        )

    def steps_at(self, level):
        """K of each image, int32 [B]; the int 0 for the normal approximation."""
        steps = self.config.steps_by_level
        return tf.gather(steps, level) if any(steps) else 0

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
