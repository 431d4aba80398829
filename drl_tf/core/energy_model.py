"""The Keras model of the energies: log densities, and sampling from noise to image (paper, Algorithm 2)."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from drl_tf.core import denoising, diffusion, graphs, larger_steps, noise, pilot, preconditioning, sampling
from drl_tf.core.batch_parts import concatenated
from drl_tf.core.diffusion import Schedule, at, per_image
from drl_tf.core.energy_networks import energy_network
from drl_tf.core.guidance import UNCONDITIONAL, Terms
from drl_tf.core.langevin import LogDensity, value_gradient
from drl_tf.core.sampling import PLAIN, Draw
from drl_tf.core.weights import Weights, with_average


class EnergyModel(keras.Model):
    """Computes log densities F(y_t, t) of scaled noisy images y_t = m_t x_t at levels t, and draws images.

    Args:
      config: a `config.Config`. Its option `precision` decides if networks compute in bfloat16 or float32.

    Attributes:
      schedule: `Schedule` of the T levels that have an energy; `schedule.m` holds the factors m_t.
      walk: `Schedule` of the levels that sampling visits: all, or fewer with the option `sampling_levels`.
      precision: factor that turns network output into F at each level, float64 [T]; 1 if `normalised`.
      normalised: True for energy='preconditioned' or 'exact': F then has no unknown additive constant.
      averages: pairs (network with averaged weights, network with raw weights).

    Examples:
      >>> from drl_tf.config.config import Config
      >>> model = EnergyModel(Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,)))
      >>> model.schedule.num_levels, model.scoring_level
      (6, 0)
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.schedule = diffusion.chosen(config.diffusion)
        self.walk = self.schedule.strided(config.sampling.sampling_levels)
        self.normalised = config.network.energy != 'paper'
        scale = self.schedule.s[1:] if config.diffusion.energy_scale == 'noise' else self.schedule.delta
        self.precision = np.ones_like(scale) if self.normalised else scale**-2
        self.network_dtype = 'mixed_bfloat16' if config.training.precision == 'bfloat16' else 'float32'
        make = functools.partial(energy_network, config, dtype=self.network_dtype)
        self.network, self.ema_network = with_average(make, 'network')
        self.averages = [(self.ema_network, self.network)]
        self.built = True

    @property
    def scoring_level(self) -> int:
        """The noise level t, an int, at which to compare clean images by their log densities."""
        return preconditioning.scoring_level(self.schedule) if self.normalised else 0

    def network_of(self, weights: Weights) -> Any:
        """Returns the energy network with averaged weights ('ema') or with the weights as trained ('raw')."""
        return Weights(weights).of(self.ema_network, self.network)

    def density_at(
        self, level: tf.Tensor, weights: Weights = Weights.EMA, terms: Terms = UNCONDITIONAL
    ) -> LogDensity:
        """Returns a function that maps scaled noisy images y [B, H, W, C] to their F(y, t), float32 [B].

        Args:
          level: noise level t of each image, 0 to T - 1, int32 [B].
          weights, terms: which weights, 'ema' (averaged) or 'raw'; which classes, from `guidance.guided`.

        Examples:
          >>> from drl_tf.config.config import Config
          >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
          >>> EnergyModel(config).density_at(tf.constant([0, 5]))(tf.ones([2, 8, 8, 1])).shape
          TensorShape([2])
        """
        if self.normalised:
            return self._normalised_at(self.schedule, level, weights, terms)
        network, time = self.network_of(weights), per_image(self.schedule.time, level)
        precision = per_image(self.precision, level)
        parts = [(weight, network.prepare(time, labels)) for labels, weight in terms]
        return lambda y: precision * tf.add_n([weight * network(y, prepared) for weight, prepared in parts])

    def _density_on(self, walk: Schedule, level: tf.Tensor, weights: Weights, terms: Terms) -> LogDensity:
        """Returns a callable, y -> F(y, t) float32 [B]; `level` is t in `walk`."""
        if self.normalised:
            return self._normalised_at(walk, level, weights, terms)
        trained_at = functools.partial(self.density_at, weights=weights, terms=terms)
        return sampling.on_walk(self.schedule, walk, trained_at)(level)

    def _normalised_at(self, walk: Schedule, level: tf.Tensor, weights: Weights, terms: Terms) -> LogDensity:
        """Returns a callable, y_t = m_t x_t -> log p(x_t) - D log m_t; `level` is t in `walk`."""
        log_prob = self.log_prob_at(per_image(walk.angle, level), weights, terms)
        log_m = per_image(np.prod(self.config.image_shape) * np.log(walk.m), level)
        return lambda y: log_prob(y / at(walk.m, level)) - log_m

    def log_prob_at(
        self, angle: tf.Tensor, weights: Weights = Weights.EMA, terms: Terms = UNCONDITIONAL
    ) -> LogDensity:
        """Returns a function x -> log p(x) in nats, float32 [B]; needs energy='preconditioned' or 'exact'.

        Args:
          angle: noise level, float32 [B]; the images are x = cos(angle) x_clean + sin(angle) eps.
          weights, terms: which weights, 'ema' (averaged) or 'raw'; which classes, from `guidance.guided`.

        Examples:
          >>> from drl_tf.config.config import Config
          >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
          >>> config = config.replace(energy='preconditioned', objective='score_matching', act='swish')
          >>> EnergyModel(config).log_prob_at(tf.constant([0.1, 1.5]))(tf.ones([2, 8, 8, 1])).shape
          TensorShape([2])
        """
        network, time = self.network_of(weights), preconditioning.time_of(angle)
        parts = [(weight, network.prepare(time, labels)) for labels, weight in terms]
        return lambda x: tf.add_n([weight * network(x, prepared) for weight, prepared in parts])

    def chain_start(
        self,
        x_next: tf.Tensor,
        level: tf.Tensor,
        seed: noise.Seed,
        draw: Draw,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y^0, the first states of the chains that draw y_t = m_t x_t given x_{t+1}, and y^0's mean.

        With the option proposal='x_next', both are x_{t+1}. Else y^0 is its mean (Tweedie's formula) + noise.

        Args:
          x_next, level: x_{t+1}, float32 [B, H, W, C], and each image's t, an index into the walk, int32 [B].
          seed: seed, int32 [2]; chain i depends on (seed, draw.first + i).
          draw: which images, and how. Its `walk` None: `self.schedule`, the levels of training.
          training: False: the option `noise_scale` multiplies the noise in y^0; True: it has no effect.
        """
        if self.config.diffusion.proposal == 'x_next':
            return x_next, x_next
        walk = draw.walk or self.schedule
        scale = 1.0 if training else self.config.sampling.noise_scale
        eps = scale * noise.normal(seed, tf.shape(x_next), draw.first)
        score = self._score(walk, x_next, level + 1, draw.weights, draw.terms)
        return denoising.posterior_proposal(walk, score, x_next, level, eps)

    def _score(self, walk: Schedule, x: tf.Tensor, t: tf.Tensor, weights: Weights, terms: Terms) -> tf.Tensor:
        """Returns grad log p(x), float32 [B, H, W, C]; x has the noise of level t, int32 [B], of `walk`."""
        if self.normalised:
            return value_gradient(self.log_prob_at(per_image(walk.angle, t), weights, terms), x)
        below = tf.minimum(t, walk.num_levels - 1)
        log_density = self._density_on(walk, below, weights, terms)
        score = value_gradient(lambda x: log_density(at(walk.m, below) * x), x)
        # The top noise has no energy: x_T is white noise, whose score is -x.
        return tf.where((t > below)[:, None, None, None], -x, score)

    @graphs.graph
    def denoise(self, x_next: tf.Tensor, level: tf.Tensor, seed: noise.Seed, draw: Draw = PLAIN) -> tf.Tensor:
        """Draws x_t given x_{t+1}: one noise level of `sample`. Returns x_t, float32 [B, H, W, C].

        Args:
          x_next, level: x_{t+1}, float32 [B, H, W, C], and each image's level t, 0 to T - 1, int32 [B].
          seed: seed, int32 [2]; image i depends on (seed, draw.first + i).
          draw: which images, and how; its `walk` is not used: the levels are those of `self.schedule`.

        Examples:
          >>> from drl_tf.config.config import Config
          >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
          >>> EnergyModel(config).denoise(tf.ones([2, 8, 8, 1]), tf.constant([0, 5]), seed=[0, 1]).shape
          TensorShape([2, 8, 8, 1])
        """
        return self.sampler(draw._replace(walk=self.schedule)).recover(x_next, level, seed)[0]

    @graphs.graph
    def prior(
        self, num_images: int, seed: noise.Seed, first: int | tf.Tensor, walk: Schedule | None = None
    ) -> tf.Tensor:
        """Draws x_T, Gaussian noise, float32 [num_images, H, W, C]; row i depends on (seed, first + i) only.

        With the option prior='data', its mean and variance are those of images with the noise of the highest
        level of `walk` (None: the levels that the model samples on): A_T mu and (A_T d)^2 + S_T^2, where mu
        is the mean and d the standard deviation of the training images. Else it is white: 0 and 1.
        """
        z = noise.normal(seed, [num_images, *self.config.image_shape], first)
        if self.config.sampling.prior == 'white':
            return z
        walk = walk or self.walk
        A, S = np.float32(walk.A[-1]), np.float32(walk.S[-1])
        mean, std = (
            tf.convert_to_tensor(value, tf.float32) for value in (self.network.mean, self.network.std)
        )
        return A * mean + tf.sqrt((A * std) ** 2 + S**2) * z

    @graphs.graph
    def walk_levels(
        self,
        x: tf.Tensor,
        high: tf.Tensor,
        low: tf.Tensor,
        seed: noise.Seed,
        draw: Draw = PLAIN,
    ) -> tuple[tf.Tensor, sampling.Info]:
        """Draws images at the noise level `low`, given images x at the level `high`; `sample` calls this.

        `high` and `low` are indices into the levels of `draw.walk`, int32 []. Image i depends on x, seed and
        draw.first + i. Returns images like x, and the chains' acceptance, an `Info`.
        """

        def of_part(begin: int, part: Any) -> tuple[tf.Tensor, sampling.Info]:
            x, terms, first = part
            first = first if isinstance(first, noise.Between) else first + begin
            return self.sampler(draw._replace(terms=terms, first=first)).descend(x, high, low, seed)

        return concatenated(of_part, (x, draw.terms, draw.first))

    def sampler(self, draw: Draw) -> sampling.Sampler:
        """Returns a `Sampler` that draws images on the levels of `draw.walk`."""
        walk = draw.walk or self.walk

        def start_at(x_next: tf.Tensor, level: tf.Tensor, seed: noise.Seed) -> tf.Tensor:
            seed = noise.fold(seed, noise.START)
            return self.chain_start(x_next, level, seed, draw._replace(walk=walk))[0]

        return sampling.Sampler(
            schedule=walk,
            density_at=lambda level: self._density_on(walk, level, draw.weights, draw.terms),
            start_at=start_at,
            steps_at=larger_steps.steps_at(self.config, walk),
            corrector=self.config.corrector,
            corrector_steps=draw.corrector_steps,
            noise_scale=self.config.sampling.noise_scale,
            step_scale=larger_steps.scale(self.config, walk),
            beta=larger_steps.beta(self.config, walk),
            first=draw.first,
        )

    @graphs.graph
    def final_denoise(self, x_0: tf.Tensor, weights: Weights, terms: Terms) -> tf.Tensor:
        """Returns the mean clean image given each x_0 of level 0; other arguments as in `density_at`."""
        return concatenated(lambda _, part: denoising.at_lowest_level(self, *part), (x_0, terms, weights))

    def sample(
        self,
        num_images: int,
        seed: noise.Seed,
        draw: Draw = PLAIN,
        run: Callable[[Callable[..., Any], tuple[Any, ...]], Any] = lambda function, args: function(*args),
        after_part: Callable[[float], object] = lambda share: None,
        after_chains: Callable[[Any], object] = lambda info: None,
        most_parts: int = sampling.MOST_PARTS,
    ) -> list[Any]:
        """Samples images, from noise x_T (`prior`) down to x_0, the lowest noise level (paper, Algorithm 2).

        Args:
          num_images: n, the number of images on each replica.
          seed: seed, int32 [2]; image i depends on (seed, draw.first + i).
          draw: which images, and how.
          run: calls a function with a tuple of arguments; on replicas: `run` of a `tf.distribute.Strategy`.
          after_part: called after each part with that part's share of the levels, between 0 and 1.
          after_chains: called after each part with acceptance and displacement of its chains, an `Info`.
          most_parts: largest number of parts into which the levels are divided; sampling reports each part.

        Returns:
          [x_T, states in between, x_0], float32 [n, H, W, C]; the option `final_denoise` denoises x_0.

        Examples:
          >>> from drl_tf.config.config import Config
          >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
          >>> EnergyModel(config).sample(2, seed=[0, 1])[-1].shape
          TensorShape([2, 8, 8, 1])
        """
        walk = draw.walk or self.walk
        if draw.corrector_steps is None:
            draw = draw._replace(corrector_steps=pilot.steps(self, draw.weights, walk))

        def descend(x: Any, high: int, low: int) -> Any:
            levels = (tf.constant(high), tf.constant(low))
            x, info = run(self.walk_levels, (x, *levels, seed, draw))
            after_chains(info)
            return x

        x = run(self.prior, (num_images, noise.fold(seed, noise.PRIOR), draw.first, walk))
        trajectory = sampling.progressive(descend, x, walk.num_levels, after_part, most_parts)
        if self.config.diffusion.final_denoise:
            trajectory[-1] = run(self.final_denoise, (trajectory[-1], draw.weights, draw.terms))
        return trajectory
