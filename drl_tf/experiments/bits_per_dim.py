"""Bits per dimension of images, given estimates of log Z_0 from both sides."""

import math

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels

FEW_EFFECTIVE = 5


def terms_of_images(schedule, log_density, grey, eps):
    """What the likelihood of images is made of, but for log Z_0.

    Args:
      schedule: a `diffusion.Schedule`.
      log_density: callable, y -> F(y, 0), float32 [n].
      grey: grey levels u, uint8 [n, H, W, C]; x = u / 127.5 - 1.
      eps: standard normal noise of that shape, with which x_0 = A_0 x + S_0 eps is a draw of q(x_0 | u).

    Returns:
      {'F': F(m_0 x_0, 0), 'log_q': log q(x_0 | u), 'log_P': log P(u | x_0)}, each float64 [n] in nats; P
      discretises N(x_0 / A_0, S_0^2 / A_0^2) to the 256 grey levels, the outer bins reaching to infinity.
    """
    A, S, m = schedule.A[0], schedule.S[0], schedule.m[0]
    x, eps = pixels.from_levels(grey.astype(np.float64)), np.asarray(eps, np.float64)
    x_0, axes = A * x + S * eps, tuple(range(1, x.ndim))
    log_q = np.sum(-(eps**2) / 2 - math.log(S * math.sqrt(2 * math.pi)), axis=axes)
    F = log_density(tf.constant(m * x_0, tf.float32)).numpy().astype(np.float64)
    return {
        'F': F,
        'log_q': log_q,
        'log_P': np.sum(log_bins(grey, (x_0 / A + 1) * pixels.HALF, S / A * pixels.HALF), axis=axes),
    }


def log_bins(grey, mean, std):
    """log P of each grey level under a Gaussian of that mean and deviation, in grey levels; float64 like
    `grey`."""
    low = tf.constant(np.where(grey == 0, -np.inf, (grey - 0.5 - mean) / std))
    high = tf.constant(np.where(grey == 255, np.inf, (grey + 0.5 - mean) / std))
    # Above the mean a bin is the difference of two upper tails, for the digits that lower tails near 1 would
    # lose.
    swap = low > 0
    near, far = tf.where(swap, -high, low), tf.where(swap, -low, high)
    return np.log(_normal_cdf(far) - _normal_cdf(near))


def _normal_cdf(z):
    return 0.5 * tf.math.erfc(-z / math.sqrt(2))


def bits_per_dim(schedule, image_shape, images, forward, reverse):
    """Figures of held-out images.

    Args:
      schedule: a `diffusion.Schedule`.
      image_shape: [H, W, C].
      images: `terms_of_images`.
      forward: `annealing.Estimate` of log Z_0.
      reverse: that of -log Z_0.

    Returns:
      A dict ready for JSON. `density_low` and `density_high` are bits/dim of x_0, whose unit is a grey level,

          -(F(y_0, 0) - log Z_0 + D log m_0 - D log 127.5) / (D ln 2),

      with log Z_0 from the forward and the reverse chains; `discrete_low` and `discrete_high` the bound for
      grey levels, E_q[log q(x_0 | u) - log p(x_0) - log P(u | x_0)] / (D ln 2). Errors are of the means over
      images and of log Z_0 together; None, and so that of log Z_0, where fewer than five chains carry the
      weight: it is not known then. `.._mean_log` are the same with the mean of log w for the logarithm of the
        mean weight: looser bounds whose error is known.
    """
    D = math.prod(image_shape)
    nats = D * math.log(2)
    log_density = images['F'] + D * math.log(schedule.m[0])
    negative = {
        'density': D * math.log(pixels.HALF) - log_density,
        'discrete': images['log_q'] - log_density - images['log_P'],
    }
    count = len(log_density)
    means = {
        kind: (v.mean(), float(np.std(v, ddof=min(1, count - 1))) / math.sqrt(count))
        for kind, v in negative.items()
    }
    result = {
        'D': D,
        'num_images': count,
        'noise_floor': 0.5 * math.log2(2 * math.pi * math.e * (pixels.HALF * schedule.S[0]) ** 2),
    }
    for side, estimate, sign in (('low', forward, 1), ('high', reverse, -1)):
        known = estimate.effective_sample_size >= FEW_EFFECTIVE
        ways = {
            '': (estimate.log_mean, estimate.standard_error if known else None),
            '_mean_log': (estimate.mean_log, estimate.mean_log_error),
        }
        result[f'effective_sample_size_{side}'] = estimate.effective_sample_size
        for way, (log_z, error) in ways.items():
            result |= {f'log_z_{side}{way}': sign * log_z, f'log_z_{side}{way}_error': error}
            for kind, (mean, spread) in means.items():
                result[f'{kind}_{side}{way}'] = float((mean + sign * log_z) / nats)
                result[f'{kind}_{side}{way}_error'] = (
                    None if error is None else math.hypot(spread, error) / nats
                )
    return result
