"""Noise schedules and the forward process (paper, section 3.1): float64 maths, no network.

EBMs stand at levels t = 0..T-1 and there are T+1 noises s_0..s_T:

    x_0     = a_0 x + s_0 eps,    x_{t+1} = a_{t+1} x_t + s_{t+1} eps',    a = sqrt(1 - s^2)
    x_t     = A_t x + S_t eps     (marginally)
    y_t     = m_t x_t             the variable that the EBM at level t is defined on
"""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """Noise levels and the step sizes that belong to them.

    Attributes:
      s: noise added at each step, float64 [T + 1].
      conditional: r_t, 1 where the EBM is tethered to x_{t+1} and 0 where it is marginal, float64 [T].
      b2: square of the step-size factor, which belongs to the recipe.
      time: what the networks are told of each noise level, float64 [T + 1].
      levels: which levels of the trained schedule these are, int32 [T]; all of them in a schedule that is not
        strided.

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
    def num_levels(self):
        """T."""
        return len(self.s) - 1

    @property
    def a(self):
        """sqrt(1 - s^2), float64 [T + 1]."""
        return np.sqrt(1 - self.s**2)

    @property
    def A(self):
        """Share of the image left in x_t, float64 [T + 1]."""
        return np.cumprod(self.a)

    @property
    def S(self):
        """Standard deviation of the noise in x_t, float64 [T + 1]."""
        return np.sqrt(1 - self.A**2)

    @property
    def angle(self):
        """Noise levels as angles, A = cos(angle) and S = sin(angle), float64 [T + 1]."""
        return np.arctan2(self.S, self.A)

    @property
    def posterior_std(self):
        """Standard deviation of y_t = m_t x_t given x and x_{t+1}, float64 [T].

        It is m_t sqrt(beta~_{t+1}) with beta~_{t+1} = (1 - A_t^2) / (1 - A_{t+1}^2) s_{t+1}^2 (Ho et al.
        2020, equation 7).
        """
        return self.S[:-1] / self.S[1:] * self.s[1:] * self.m

    @property
    def m(self):
        """y_t = m_t x_t, float64 [T]."""
        return np.where(self.conditional == 1, self.a[1:], 1.0)

    @property
    def delta(self):
        """Langevin step size, delta_t^2 = b2 (S_t / S_0) s_{t+1}^2, float64 [T]."""
        return np.sqrt(self.b2 * self.S[:-1] / self.S[0]) * self.s[1:]

    @property
    def loss_weight(self):
        """s_1 / s_{t+1}, float64 [T]."""
        return self.s[1] / self.s[1:]

    def strided(self, count):
        """The schedule of a walk that visits some of the levels, evenly spaced, the lowest among them.

        A merged step x_{t'} = a x_t + s eps has a = A_{t'} / A_t and s^2 = 1 - a^2. That is exact, as is each
        F(., t) that was exact. What gets worse: with K = 0 the normal approximation, whose error grows with
        s^2; with K > 0 the chains, whose step sizes follow the larger s but whose energies were fitted near
        the tethers of single steps.

        Args:
          count: how many of the T levels, from 1; T, or 0, is all.

        Returns:
          A `Schedule` of `count` levels, each conditional or not as it was.

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


def t6(num_levels=6, b2=2e-4):
    """The paper's schedule: cumulated noise of 1,000 linear betas, at evenly spaced indices and the last one.

    The share of the image left in x_T is A_T = 0.00635, which sampling takes for 0: it starts from N(0, I).

    Args:
      num_levels: T, from 1 to 500; the paper has 6.
      b2: see `Schedule`; the paper has 2e-4.

    Returns:
      A `Schedule` whose top level is marginal; the networks are told t.

    Examples:
      >>> schedule = t6()
      >>> schedule.num_levels, schedule.A.round(3).tolist()
      (6, [1.0, 0.946, 0.81, 0.628, 0.44, 0.279, 0.006])
    """
    kept = np.cumprod(np.sqrt(1 - np.linspace(1e-4, 0.02, 1000)))
    stride = 1000 // (2 * (num_levels - 1)) if num_levels > 1 else 0
    A = kept[np.append(np.arange(num_levels) * stride, 999)]
    return _from_signal(A, b2, np.arange(num_levels + 1.0))


def cosine(num_levels=6, b2=4e-4, largest=9.8, smallest=-5.1):
    """The schedule of cooperative recovery likelihood (Zhu et al., ICLR 2024): a log-SNR of -2 log tan(a u +
    b), u from 0 to 1.

    Args:
      num_levels: T; the paper has 6.
      b2: see `Schedule`; the paper has 4e-4.
      largest: log-SNR of x_0.
      smallest: log-SNR of x_T.

    Returns:
      A `Schedule` whose top level is marginal; the networks are told 1000 atan(exp(-log-SNR / 2)) / (pi / 2).

    Examples:
      >>> cosine().A.round(3).tolist()
      [1.0, 0.968, 0.876, 0.732, 0.542, 0.32, 0.078]
    """
    b = np.arctan(np.exp(-largest / 2))
    a = np.arctan(np.exp(-smallest / 2)) - b
    log_snr = -2 * np.log(np.tan(a * np.linspace(0, 1, num_levels + 1) + b))
    A = np.sqrt(1 / (1 + np.exp(-log_snr)))
    return _from_signal(A, b2, 1000 * np.arctan(np.exp(-log_snr / 2)) / (np.pi / 2))


def t1k(num_levels=999, b2=2e-4):
    """The schedule of the paper's T = 1000 setting: 1,000 noises of linear s^2, every EBM conditional, also
    the top one.

    Args:
      num_levels: T, from 1 to 999; fewer than 999 are evenly spaced among these.
      b2: see `Schedule`.

    Returns:
      A `Schedule`; sampling starts from N(0, I) in place of x_T, in which 0.006 of the image is left. The
      networks are told the index of each noise.

    Examples:
      >>> schedule = t1k(100)
      >>> schedule.num_levels, schedule.conditional.min().item()
      (100, 1.0)
    """
    kept = np.round(np.linspace(0, 999, num_levels + 1)).astype(int)
    A = np.cumprod(np.sqrt(1 - np.linspace(1e-4, 0.02, 1000)))[kept]
    return _from_signal(A, b2, kept.astype(float), conditional_top=True)


def karras(num_levels=6, b2=4e-4, smallest=0.0074, largest=12.8, rho=5.0):
    """The noise levels of Karras et al. (NeurIPS 2022, equation 5): sigma^(1 / rho) is evenly spaced.

    Few steps then go where images take shape; the ends are those of `cosine`.

    Args:
      num_levels: T.
      b2: see `Schedule`.
      smallest: sigma = S / A of x_0.
      largest: sigma of x_T.
      rho: from 1 on; the larger, the more of the levels have little noise.

    Returns:
      A `Schedule` whose top level is marginal; the networks are told as in `cosine`.

    Examples:
      >>> schedule = karras()
      >>> (schedule.S / schedule.A)[[0, 3, 6]].round(4).tolist()
      [0.0074, 1.1039, 12.8]
    """
    low, high = smallest ** (1 / rho), largest ** (1 / rho)
    sigma = (low + (high - low) * np.linspace(0, 1, num_levels + 1)) ** rho
    return _from_signal((1 + sigma**2) ** -0.5, b2, 1000 * np.arctan(sigma) / (np.pi / 2))


SCHEDULES = {'t6': t6, 't1k': t1k, 'cosine': cosine, 'karras': karras}


def _from_signal(A, b2, time, conditional_top=False):
    """A schedule of conditional levels, below a marginal one or not, from the share of the image left at each
    noise."""
    conditional = np.append(np.ones(len(A) - 2), float(conditional_top))
    return Schedule(_added_noise(A), conditional, b2, time, np.arange(len(A) - 1, dtype=np.int32))


def _added_noise(A):
    """s of each step, from the share of the image left after it."""
    return np.sqrt(1 - (A / np.append(1.0, A[:-1])) ** 2)


def per_image(values, level):
    """Picks each image's value of a per-level constant, float [T] or [T + 1], at `level` int32 [B]: float32
    [B].

    Examples:
      >>> per_image([0.1, 0.2, 0.3], tf.constant([2, 0])).numpy()
      array([0.3, 0.1], dtype=float32)
    """
    return tf.gather(tf.constant(values, tf.float32), level)


def at(values, level):
    """As `per_image`, but float32 [B, 1, 1, 1], which multiplies images.

    Examples:
      >>> at([0.1, 0.2, 0.3], tf.constant([2, 0])).shape
      TensorShape([2, 1, 1, 1])
    """
    return per_image(values, level)[:, None, None, None]


def forward_pair(schedule, x, level, noise, noise_next):
    """Draws (x_t, x_{t+1}) given images.

    Args:
      schedule: a `Schedule`.
      x: images in [-1, 1], float32 [B, H, W, C].
      level: t of each image, int32 [B].
      noise: standard normal noise of x_t, like `x`.
      noise_next: noise of the step to x_{t+1}, like `x`; None shares `noise` (only the marginals are kept).

    Returns:
      x_t and x_{t+1}, float32 [B, H, W, C].

    Examples:
      >>> x, eps = tf.ones([2, 8, 8, 1]), tf.zeros([2, 8, 8, 1])
      >>> x_t, x_next = forward_pair(t6(), x, tf.constant([0, 3]), eps, eps)
      >>> x_next[:, 0, 0, 0].numpy().round(3)
      array([0.946, 0.44 ], dtype=float32)
    """
    A, S = schedule.A, schedule.S
    x_t = at(A, level) * x + at(S, level) * noise
    if noise_next is None:
        return x_t, at(A, level + 1) * x + at(S, level + 1) * noise
    return x_t, at(schedule.a, level + 1) * x_t + at(schedule.s, level + 1) * noise_next


def posterior_mean(schedule, x, x_next, level):
    """E[x_t | x, x_{t+1}] = (A_t s_{t+1}^2 x + a_{t+1} S_t^2 x_{t+1}) / S_{t+1}^2 (Ho et al. 2020, equation
    7).

    Args:
      schedule, x, level: as in `forward_pair`.
      x_next: x_{t+1}, like `x`.

    Returns:
      Like `x`. The noise of `forward_pair` may have been shared: only the marginals of x_{t+1} matter.

    Examples:
      Where x_{t+1} holds no noise, it is A_t x.

      >>> schedule, x, level = t6(), tf.ones([1, 8, 8, 1]), tf.constant([3])
      >>> x_next = at(schedule.A, level + 1) * x
      >>> (posterior_mean(schedule, x, x_next, level)[0, 0, 0, 0].numpy() / schedule.A[3]).round(5).item()
      1.0
    """
    A, S, s, a = schedule.A[:-1], schedule.S, schedule.s[1:], schedule.a[1:]
    return at(A * s**2 / S[1:] ** 2, level) * x + at(a * S[:-1] ** 2 / S[1:] ** 2, level) * x_next
