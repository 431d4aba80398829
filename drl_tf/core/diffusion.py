"""Noise schedules and the forward process (paper, section 3.1): float64 maths, no network.

There are T + 1 noise levels x_0..x_T with the added noises s_0..s_T, and an EBM at each level t = 0..T-1:

    x_0     = a_0 x + s_0 eps,    x_{t+1} = a_{t+1} x_t + s_{t+1} eps',    a = sqrt(1 - s^2)
    x_t     = A_t x + S_t eps     (marginally)
    y_t     = m_t x_t             the variable of the EBM at level t
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """The T + 1 noise levels of a model, from x_0 (lowest) to x_T, and the steps of its Langevin chains.

    x_t = A_t x + S_t eps is the clean image x with the noise of level t. The energy-based model (EBM) of
    level t = 0..T-1 is a density of y_t = m_t x_t.

    Attributes:
      s: standard deviation s_t of the noise added to reach x_t from the level below, float64 [T + 1].
      conditional: r_t, float64 [T]: 1 if the EBM of level t is conditional on x_{t+1}, 0 if it is marginal.
      b2: factor of the squared Langevin step sizes; the attribute `delta` has the formula.
      time: noise level of each x_t as the networks take it, float64 [T + 1].
      levels: index of each level in the training schedule, int32 [T]: 0..T-1 unless `strided()` skips some.

    Examples:
      >>> schedule = t6()
      >>> x = tf.zeros([2, 8, 8, 1])
      >>> y_pos = at(schedule.m, tf.constant([0, 5])) * x          # y_t = m_t x_t
      >>> schedule.delta.shape, schedule.loss_weight[0].item()
      ((6,), 1.0)
    """

    s: np.ndarray
    conditional: np.ndarray
    b2: float
    time: np.ndarray
    levels: np.ndarray

    @property
    def num_levels(self) -> int:
        """T, the number of levels that have an energy-based model (EBM)."""
        return len(self.s) - 1

    @property
    def a(self) -> np.ndarray:
        """a_t = sqrt(1 - s_t^2), the factor of x_{t-1} in x_t (first entry: of x in x_0), float64 [T + 1]."""
        return np.sqrt(1 - self.s**2)

    @property
    def A(self) -> np.ndarray:
        """Factor A_t of the clean image in x_t, float64 [T + 1]."""
        return np.cumprod(self.a)

    @property
    def S(self) -> np.ndarray:
        """Standard deviation S_t of the noise in x_t, float64 [T + 1]."""
        return np.sqrt(1 - self.A**2)

    @property
    def angle(self) -> np.ndarray:
        """Noise level of x_t as an angle in radians, float64 [T + 1]: A_t = cos(angle), S_t = sin(angle)."""
        return np.arctan2(self.S, self.A)

    @property
    def posterior_std(self) -> np.ndarray:
        """Standard deviation of y_t = m_t x_t given the clean image and x_{t+1}, float64 [T]."""
        return self.S[:-1] / self.S[1:] * self.s[1:] * self.m

    @property
    def m(self) -> np.ndarray:
        """Factor m_t of the network input y_t = m_t x_t: a_{t+1} if `conditional`, else 1; float64 [T]."""
        return np.where(self.conditional == 1, self.a[1:], 1.0)

    @property
    def delta(self) -> np.ndarray:
        """Step size of Langevin chains, sqrt(b2 S_t / S_0) s_{t+1} (attributes b2, S, s), float64 [T]."""
        return np.sqrt(self.b2 * self.S[:-1] / self.S[0]) * self.s[1:]

    @property
    def loss_weight(self) -> np.ndarray:
        """Weight of the contrastive loss at each level t, s_1 / s_{t+1} with the attribute s, float64 [T]."""
        return self.s[1] / self.s[1:]

    def strided(self, count: int) -> 'Schedule':
        """Returns a schedule with `count` evenly spaced levels of this one, for faster sampling.

        Level 0 is kept. The noise of skipped levels is added in one step, so x_t keeps its distribution.
        Sampling gets less accurate, because its steps are larger.

        Args:
          count: number of levels, at most T; 0 means all T levels.

        Returns:
          A `Schedule` with T = `count`. Each kept level stays conditional or marginal.

        Examples:
          >>> t1k().strided(5).levels.tolist()
          [0, 199, 399, 599, 799]
        """
        if count in (0, self.num_levels):
            return self
        levels = np.arange(count, dtype=np.int32) * self.num_levels // count
        noises = np.append(levels, self.num_levels)
        s = _added_noise(self.A[noises])
        return Schedule(s, self.conditional[levels], self.b2, self.time[noises], self.levels[levels])


def t6(num_levels: int = 6, b2: float = 2e-4) -> Schedule:
    """Returns the paper's schedule of 6 levels, a subset of the 1,000 levels of DDPM (Ho et al. 2020).

    A_T, the factor of the clean image in x_T, is 0.006: a little of the image is left. Sampling starts from
    pure noise all the same.

    Args:
      num_levels: T, the number of levels, at most 500; 6 in the paper.
      b2: factor of the squared Langevin step sizes; 2e-4 in the paper.

    Returns:
      A `Schedule`. Each energy-based model but the top one is conditional on x_{t+1}. The networks take t as
      the noise level.

    Examples:
      >>> schedule = t6()
      >>> schedule.num_levels, schedule.A.round(3).tolist()
      (6, [1.0, 0.946, 0.81, 0.628, 0.44, 0.279, 0.006])
    """
    kept = np.cumprod(np.sqrt(1 - np.linspace(1e-4, 0.02, 1000)))
    stride = 1000 // (2 * (num_levels - 1)) if num_levels > 1 else 0
    A = kept[np.append(np.arange(num_levels) * stride, 999)]
    return _from_signal(A, b2, np.arange(num_levels + 1.0))


def cosine(num_levels: int = 6, b2: float = 4e-4, largest: float = 9.8, smallest: float = -5.1) -> Schedule:
    """Returns the cosine schedule of CDRL (Zhu et al., ICLR 2024): x_t = cos(angle) x + sin(angle) noise.

    Args:
      num_levels: T, the number of levels; 6 in the paper.
      b2: factor of the squared Langevin step sizes; 4e-4 in the paper.
      largest: log-SNR, -2 log tan(angle), of x_0, the lowest noise level.
      smallest: log-SNR of x_T, the highest noise level.

    Returns:
      A `Schedule` with evenly spaced angles. Each energy-based model but the top one is conditional on
      x_{t+1}. The networks take 1000 angle / (pi / 2) as the noise level.

    Examples:
      >>> cosine().A.round(3).tolist()
      [1.0, 0.968, 0.876, 0.732, 0.542, 0.32, 0.078]
    """
    b = np.arctan(np.exp(-largest / 2))
    a = np.arctan(np.exp(-smallest / 2)) - b
    log_snr = -2 * np.log(np.tan(a * np.linspace(0, 1, num_levels + 1) + b))
    A = np.sqrt(1 / (1 + np.exp(-log_snr)))
    return _from_signal(A, b2, 1000 * np.arctan(np.exp(-log_snr / 2)) / (np.pi / 2))


def t1k(num_levels: int = 999, b2: float = 2e-4) -> Schedule:
    """Returns the paper's schedule "T = 1000": 1,000 noise levels, whose added noise s_t^2 rises linearly.

    A_T, the factor of the clean image at the highest level, is only 0.006: sampling starts from pure noise.

    Args:
      num_levels: T. 999 gives all 1,000 noise levels; a smaller T gives T + 1 of them, evenly spaced.
      b2: factor of the squared Langevin step sizes.

    Returns:
      A `Schedule`. All energy-based models are conditional on x_{t+1}. The networks take the index of the
      level among the 1,000 as the noise level.

    Examples:
      >>> schedule = t1k(100)
      >>> schedule.num_levels, schedule.conditional.min().item()
      (100, 1.0)
    """
    kept = np.round(np.linspace(0, 999, num_levels + 1)).astype(int)
    A = np.cumprod(np.sqrt(1 - np.linspace(1e-4, 0.02, 1000)))[kept]
    return _from_signal(A, b2, kept.astype(float), conditional_top=True)


def karras(
    num_levels: int = 6,
    b2: float = 4e-4,
    sigma_min: float = 0.0074,
    sigma_max: float = 12.8,
    rho: float = 4.0,
) -> Schedule:
    """Returns the schedule of Karras et al. (2022, equation 5): sigma^(1 / rho) is evenly spaced.

    Args:
      num_levels: T, the number of levels.
      b2: factor of the squared Langevin step sizes.
      sigma_min, sigma_max: sigma of x_0 and of x_T, where x_t is proportional to x + sigma noise.
      rho: at least 1; a larger rho puts more levels at low noise.

    Returns:
      A `Schedule`. Each energy-based model but the top one is conditional on x_{t+1}. The networks take
      1000 atan(sigma) / (pi / 2) as the noise level.

    Examples:
      >>> schedule = karras()
      >>> (schedule.S / schedule.A)[[0, 3, 6]].round(4).tolist()
      [0.0074, 1.424, 12.8]
    """
    sigma = np.linspace(sigma_min ** (1 / rho), sigma_max ** (1 / rho), num_levels + 1) ** rho
    return _from_signal((1 + sigma**2) ** -0.5, b2, 1000 * np.arctan(sigma) / (np.pi / 2))


SCHEDULES = {'t6': t6, 't1k': t1k, 'cosine': cosine, 'karras': karras}


def chosen(options: Any, num_levels: int = 0) -> Schedule:
    """Returns the schedule that options describe.

    Args:
      options: the options `schedule`, `num_levels` and `b2`, and `sigma_min` and `sigma_max` for 'karras', as
        attributes; `Config.diffusion` has them.
      num_levels: T; 0: the option `num_levels`.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> chosen(Config().diffusion).num_levels
      6
    """
    ends = (options.sigma_min, options.sigma_max) if options.schedule == 'karras' else ()
    return SCHEDULES[options.schedule](num_levels or options.num_levels, options.b2, *ends)


def _from_signal(A: np.ndarray, b2: float, time: np.ndarray, conditional_top: bool = False) -> Schedule:
    """Makes a schedule from A at each noise level; the top level is marginal unless `conditional_top`."""
    conditional = np.append(np.ones(len(A) - 2), float(conditional_top))
    return Schedule(_added_noise(A), conditional, b2, time, np.arange(len(A) - 1, dtype=np.int32))


def _added_noise(A: np.ndarray) -> np.ndarray:
    """Returns s of each step, given A after each step, both float64 [T + 1]."""
    return np.sqrt(1 - (A / np.append(1.0, A[:-1])) ** 2)


def per_image(values: np.ndarray, level: tf.Tensor) -> tf.Tensor:
    """Returns the constant of each image's noise level, float32 [B].

    Args:
      values: one constant per level, float [T] or [T + 1].
      level: noise level of each image, an index into `values`, int32 [B].

    Examples:
      >>> per_image([0.1, 0.2, 0.3], tf.constant([2, 0])).numpy()
      array([0.3, 0.1], dtype=float32)
    """
    return tf.gather(tf.constant(values, tf.float32), level)


def at(values: np.ndarray, level: tf.Tensor) -> tf.Tensor:
    """Looks up each image's constant, values[level], as float32 [B, 1, 1, 1], to multiply images with.

    Args:
      values: one constant per noise level, float [T] or [T + 1].
      level: noise level of each image, an index into `values`, int32 [B].

    Examples:
      >>> at([0.1, 0.2, 0.3], tf.constant([2, 0])).shape
      TensorShape([2, 1, 1, 1])
    """
    return per_image(values, level)[:, None, None, None]


def forward_pair(
    schedule: Schedule, x: tf.Tensor, level: tf.Tensor, noise: tf.Tensor, noise_next: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds noise to images: returns x_t, and x_{t+1} one noise level up.

    Args:
      schedule: the noise levels and their constants, a `Schedule`.
      x: clean images in [-1, 1], float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].
      noise: standard normal noise in x_t, float32 [B, H, W, C].
      noise_next: standard normal noise added from x_t to x_{t+1}. None: x_t and x_{t+1} share `noise`. Each
        still has the right distribution, but their joint distribution is wrong.

    Returns:
      x_t and x_{t+1}, both float32 [B, H, W, C].

    Examples:
      >>> x, eps = tf.ones([2, 8, 8, 1]), tf.zeros([2, 8, 8, 1])
      >>> x_t, x_next = forward_pair(t6(), x, tf.constant([0, 3]), eps, eps)
      >>> x_next[:, 0, 0, 0].numpy().round(3)
      array([0.946, 0.44 ], dtype=float32)
    """
    A = schedule.A
    S = schedule.S
    x_t = at(A, level) * x + at(S, level) * noise
    if noise_next is None:
        return x_t, at(A, level + 1) * x + at(S, level + 1) * noise
    return x_t, at(schedule.a, level + 1) * x_t + at(schedule.s, level + 1) * noise_next
