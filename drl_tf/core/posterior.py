"""Samples images given an observation o = H x + noise, with a model of log p(x_t) at every noise level.

At each level t, chains sample p(x_t | x_{t+1}, o), whose log density is, up to a constant,

    log p(x_t) - |x_{t+1} - a_{t+1} x_t|^2 / (2 s_{t+1}^2) + log p(o | x_t).

The last term is an approximation. Given x_t, the clean image is taken as Gaussian, with the mean x^(x_t) of
Tweedie's formula and a variance V_t. For white Gaussian data of standard deviation d, V_t is exact (compare
pseudoinverse guidance, Song et al., ICLR 2023). With the variance v of the noise in o:

    log p(o | x_t) = log N(o; H x^(x_t), v I + V_t H H'),    V_t = d^2 S_t^2 / (A_t^2 d^2 + S_t^2).

At level 0 the approximation is nearly exact for any data, because V_0 is about S_0^2.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from drl_tf.core import correctors, denoising, noise
from drl_tf.core.diffusion import Schedule, at
from drl_tf.core.langevin import LogDensity, langevin, value_gradient
from drl_tf.core.noise import Seed
from drl_tf.core.operators import Operator
from drl_tf.core.rounds import Rounds, Visit

# (noise level of each image, int32 [B] from 0 to T) -> log density, a callable x -> log p(x), float32 [B].
LogProbAt = Callable[[tf.Tensor], LogDensity]


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """Observations o = H x + noise of unknown images x.

    Attributes:
      operator: the linear map H, an `Operator`.
      value: o, one observation for each image, float32, of the shape of `operator.apply(x)`.
      noise_std: standard deviation of the noise in o; 0 for none.

    Examples:
      >>> from drl_tf.core import operators
      >>> Observation(operators.pooled(2), tf.zeros([1, 4, 4, 1])).noise_std
      0.0
    """

    operator: Operator
    value: tf.Tensor
    noise_std: float | tf.Tensor = 0.0


@dataclasses.dataclass(frozen=True)
class Effort:
    """Number and size of the steps with which a sampler draws images given observations.

    Attributes:
      num_steps: number of chain steps each time that a noise level is sampled; 0: `Posterior.propose` draws
        the images without chains.
      step: q above 0, relative step size. The step size is sqrt(2 q / L_t), where L_t bounds the curvature of
        the log density at level t.
      rounds: how often each level is sampled, at least 1. Between two rounds, noise is added to the image to
        move it one level up (resampling of RePaint, Lugmayr et al., CVPR 2022).
      corrects: True: a Metropolis test accepts or rejects each step (MALA). False: all steps are accepted,
        and the draws are biased, the more so the larger the steps.

    Examples:
      >>> Effort(num_steps=20).rounds
      1
    """

    num_steps: int = 10
    step: float = 0.1
    rounds: int = 1
    corrects: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """Draws images given observations o, one noise level at a time, from noise x_T down to level 0.

    Attributes:
      schedule: noise levels to visit, a `Schedule`.
      log_prob_at: callable that takes the noise level of each image, 0 to T, int32 [B], and returns the log
        density of noisy images at these levels, a callable x -> log p(x), float32 [B].
      data_std: standard deviation of the training images.
      observation: an `Observation`: the observations o, and the operator that maps images to observations.
      effort: an `Effort`: number and size of the chain steps.
      first: index of the first image; image i depends only on (seed, first + i) and its observation.

    Examples:
      Images have two pixels. The observed pixel keeps its value 2; the other is drawn:

      >>> from drl_tf.core import diffusion, operators
      >>> seen = tf.constant([[[1.0]], [[0.0]]])
      >>> observation = Observation(operators.masked(seen), 2 * seen * tf.ones([400, 2, 1, 1]))
      >>> def white(index):
      ...     return lambda x: -tf.reduce_sum(x**2, [1, 2, 3]) / 2
      >>> posterior = Posterior(diffusion.karras(4), white, data_std=1.0, observation=observation)
      >>> x = posterior.draw(noise.normal([0, 1], [400, 2, 1, 1]), [0, 2])
      >>> x[:, 0, 0, 0].numpy().mean().round(1).item(), bool(x[:, 1, 0, 0].numpy().std() > 0.1)
      (2.0, True)
    """

    schedule: Schedule
    log_prob_at: LogProbAt
    data_std: float
    observation: Observation
    effort: Effort = Effort()
    first: int | tf.Tensor = 0

    def log_density(self, index: tf.Tensor) -> LogDensity:
        """Returns the log density of noisy images x given the observations o, log p(x | o) + const.

        Args:
          index: noise level of each image, 0 to T, int32 [B].

        Returns:
          A callable that maps x, float32 [B, H, W, C], to log p(x | o) + const, float32 [B].
        """
        log_prob = self.log_prob_at(index)
        A, S = at(self.schedule.A, index), at(self.schedule.S, index)
        variance = self.data_std**2 * S**2 / (A**2 * self.data_std**2 + S**2)
        operator, noise_variance = self.observation.operator, self.observation.noise_std**2

        def log_posterior(x: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = log_prob(x)
            denoised = (x + S**2 * tape.gradient(value, x)) / A
            residual = self.observation.value - operator.apply(denoised)
            return value - operator.misfit(residual, noise_variance, variance) / 2

        return log_posterior

    def propose(self, x_next: tf.Tensor, level: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Proposes x_t given x_{t+1} and the observations o, without a chain.

        Tweedie's formula estimates the clean image from the gradient of log p(x_{t+1} | o). The noise of
        level t is then added as if the estimate were exact.

        Args:
          x_next: x_{t+1}, noisy images one level above x_t, float32 [B, H, W, C].
          level: noise level t of each image, 0 to T - 1, int32 [B].
          seed: random seed, int32 [2].

        Returns:
          x_t, images with the noise of level t, float32 [B, H, W, C].
        """
        eps = noise.normal(noise.fold(seed, noise.START), tf.shape(x_next), self.first)
        score = value_gradient(self.log_density(level + 1), x_next)
        y, _ = denoising.posterior_proposal(self.schedule, score, x_next, level, eps)
        return y / at(self.schedule.m, level)

    def chain(self, x: tf.Tensor, x_next: tf.Tensor, level: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Moves images x_t by Markov chains towards p(x_t | x_{t+1}, o), where o are the observations.

        Args:
          x: first states of the chains, float32 [B, H, W, C].
          x_next: x_{t+1}, noisy images one level above x_t, float32 [B, H, W, C].
          level: noise level t of each image, 0 to T - 1, int32 [B].
          seed: random seed, int32 [2].

        Returns:
          x_t, the last states of the chains, float32 [B, H, W, C].
        """
        a, s = self.schedule.a[1:], self.schedule.s[1:]
        log_posterior = self.log_density(level)

        def log_conditional(x: tf.Tensor) -> tf.Tensor:
            gap = x_next - at(a, level) * x
            return log_posterior(x) - tf.reduce_sum(gap**2 * at(1 / (2 * s**2), level), axis=[1, 2, 3])

        # The prior and the observation each have a curvature of at most 1 / S_t^2.
        curvature = 2 / self.schedule.S[:-1] ** 2 + (a / s) ** 2
        step_size = at(np.sqrt(2 * self.effort.step / curvature), level)
        return self._steps(log_conditional, x, step_size, noise.fold(seed, noise.LANGEVIN))

    def draw(self, x: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Draws images given the observations, from noise x_T down to level 0, and removes the last noise.

        Args:
          x: x_T, noise (`EnergyModel.prior`), float32 [B, H, W, C].
          seed: random seed, int32 [2].

        Returns:
          Denoised images, float32 [B, H, W, C]: the mean of the clean image given the observation
          and x_0, the draw at level 0.
        """
        schedule = self.schedule

        def visit(visited: Visit) -> tf.Tensor:
            x_next, level = visited.x_next, visited.level
            if not self.effort.num_steps:
                return self.propose(x_next, level, visited.seed)
            # Later rounds start at the last state of the chain, which keeps p(x_t | o) invariant.
            start = tf.cond(
                visited.is_first, lambda: self.propose(x_next, level, visited.seed), lambda: visited.x
            )
            return self.chain(start, x_next, level, visited.seed)

        x = Rounds(schedule, self.effort.rounds, self.first).descend(x, seed, visit)
        score = value_gradient(self.log_density(tf.zeros([tf.shape(x)[0]], tf.int32)), x)
        return (x + schedule.S[0] ** 2 * score) / schedule.A[0]

    def _steps(self, log_prob: LogDensity, x: tf.Tensor, step_size: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Runs K steps of MALA, or of Langevin dynamics, from x on `log_prob`."""
        num_steps = self.effort.num_steps

        def step_noise(k: tf.Tensor) -> tf.Tensor:
            return noise.normal(noise.fold(seed, noise.LANGEVIN, k), tf.shape(x), self.first)

        def uniform(k: tf.Tensor) -> tf.Tensor:
            return noise.uniform(noise.fold(seed, noise.ACCEPTANCE, k), tf.shape(x)[0], self.first)

        if not self.effort.corrects:
            return langevin(log_prob, x, step_size, num_steps, step_noise)[0]
        draws = correctors.Draws(step_noise, uniform, uniform)
        return correctors.mala(log_prob, x, step_size, num_steps, draws)[0]
