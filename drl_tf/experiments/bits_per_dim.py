"""Computes bits per dimension of images, given bounds of log Z_0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule
    from drl_tf.experiments.annealing import Estimate

FEW_EFFECTIVE = 5  # Effective chains below which the standard error of log Z is unknown.


def terms_of_images(
    schedule: Schedule, log_density: Callable[[tf.Tensor], tf.Tensor], grey: np.ndarray, eps: np.ndarray
) -> dict[str, np.ndarray]:
    """Computes three terms of the log likelihood of images; only the normalising constant Z_0 is missing.

    Grey levels u are scaled to an image x = u / 127.5 - 1, in [-1, 1]. With the noise of level 0, the lowest,
    the image is x_0 = A_0 x + S_0 eps, where eps is standard normal. The input of the network is
    y_0 = m_0 x_0. A_0, S_0 and m_0 are numbers of the schedule. The terms are:

    - F, the output of the network for y_0 at level 0. The log density of y_0 is F - log Z_0.
    - log q, the log density of x_0 given u.
    - log P, the log probability of u given x_0. P is the Gaussian N(x_0 / A_0, S_0^2 / A_0^2) for x,
      discretised to the 256 grey levels.

    Args:
      schedule: noise levels of the model.
      log_density: callable that maps y_0, float32 [n, H, W, C], to F, float32 [n].
      grey: grey levels u of n images, uint8 [n, H, W, C].
      eps: the noise eps, a draw from N(0, I), float [n, H, W, C].

    Returns:
      {'F': F, 'log_q': log q, 'log_P': log P}, float64 [n] each, in nats.
    """
    A, S, m = schedule.A[0], schedule.S[0], schedule.m[0]
    x = pixels.from_levels(grey.astype(np.float64))
    eps = np.asarray(eps, np.float64)
    x_0 = A * x + S * eps
    axes = tuple(range(1, x.ndim))
    log_q = np.sum(-(eps**2) / 2 - math.log(S * math.sqrt(2 * math.pi)), axis=axes)
    F = log_density(tf.constant(m * x_0, tf.float32)).numpy().astype(np.float64)
    log_P = np.sum(log_bins(grey, pixels.to_levels(x_0 / A), S / A * pixels.HALF), axis=axes)
    return {'F': F, 'log_q': log_q, 'log_P': log_P}


def log_bins(grey: np.ndarray, mean: np.ndarray, std: float) -> np.ndarray:
    """Computes log probabilities of pixel values, 0 to 255, under a Gaussian discretised to these values.

    Args:
      grey: uint8, of any shape.
      mean: mean of the Gaussian in grey levels, float of the shape of `grey`.
      std: standard deviation of the Gaussian in grey levels.

    Returns:
      Log probabilities in nats, float64 of the shape of `grey`.
    """
    low = tf.constant(np.where(grey == 0, -np.inf, (grey - 0.5 - mean) / std))
    high = tf.constant(np.where(grey == 255, np.inf, (grey + 0.5 - mean) / std))
    # Above the mean we subtract upper tails: lower tails near 1 would lose digits.
    swap = low > 0
    near = tf.where(swap, -high, low)
    far = tf.where(swap, -low, high)
    return np.log(_normal_cdf(far) - _normal_cdf(near))


def _normal_cdf(z: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.math.erfc(-z / math.sqrt(2))


def negative_logs(
    schedule: Schedule, image_shape: Sequence[int], images: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Computes negative log likelihoods of images in nats, to which the caller must add log Z_0.

    Z_0 is the normalising constant of the model at noise level 0, the lowest.

    Args:
      schedule: noise levels of the model.
      image_shape: [H, W, C].
      images: {'F': .., 'log_q': .., 'log_P': ..} for N images, a result of `terms_of_images`.

    Returns:
      A dict with these entries, float64 [N] each:

      - 'density': minus the log density of x_0, the image with the noise of level 0. The density is per grey
        level: pixels count from 0 to 255, not from -1 to 1.
      - 'discrete': a random upper bound of minus the log likelihood of the grey levels of the image without
        noise. The bound holds for its mean over the noise, once log Z_0 is added.
    """
    D = math.prod(image_shape)
    log_density = images['F'] + D * math.log(schedule.m[0])
    return {
        'density': D * math.log(pixels.HALF) - log_density,
        'discrete': images['log_q'] - log_density - images['log_P'],
    }


def bits_per_dim(
    schedule: Schedule,
    image_shape: Sequence[int],
    images: Mapping[str, np.ndarray],
    forward: Estimate,
    reverse: Estimate,
) -> dict[str, Any]:
    """Computes bits per dimension, averaged over images, for a lower and for an upper bound of log Z_0.

    The symbols are:

    - u: the grey levels of an image, 0 to 255. x_0: the image, scaled to [-1, 1], with the noise of level 0.
    - F: the output of the network for m_0 x_0, where m_0 is a number of the schedule. Z_0: the normalising
      constant of exp F. The model's density of x_0 is p(x_0), with log p(x_0) = F - log Z_0 + D log m_0,
      where D = H W C.
    - q(x_0 | u): the density of x_0 given u. P(u | x_0): a Gaussian, discretised to the 256 grey levels.

    Args:
      schedule: noise levels of the model.
      image_shape: [H, W, C].
      images: {'F': F, 'log_q': log q, 'log_P': log P} for N images, a result of `terms_of_images`.
      forward: estimate of log Z_0 by chains annealed from noise to level 0, a lower bound.
      reverse: estimate of -log Z_0 by chains annealed from samples of level 0 to noise, a lower bound if the
        samples are exact.

    Returns:
      A dict with these entries. Names with '_low' use the lower bound of log Z_0, from the forward chains;
      names with '_high' use the upper bound, from the reverse chains:

      - 'density_low', 'density_high': the bits per dimension of x_0 in units of grey levels, the mean of
        -(log p(x_0) - D log 127.5) / (D ln 2).
      - 'discrete_low', 'discrete_high': the mean of
        (log q(x_0 | u) - log p(x_0) - log P(u | x_0)) / (D ln 2). With the true log Z_0, this would be an
        upper bound of the bits per dimension of u.
      - 'log_z_low', 'log_z_high': the estimates of log Z_0.
      - '<name>_error', for each name above, such as 'log_z_low_error': the standard error of that entry, from
        the error of log Z_0 and, except for log Z_0 itself, the spread over images. It is None if the
        effective sample size of the chains is below 5, as the error of log Z_0 is unknown then.
      - '<name>_mean_log', for each of the six names: that entry, computed with another bound of log Z_0. This
        looser bound is the mean of the log importance weights of the chains, not the log of their mean.
      - '<name>_mean_log_error': the standard error of '<name>_mean_log'. It is always known.
      - 'D', 'num_images', 'effective_sample_size_low', 'effective_sample_size_high' (of the chains), and
        'noise_floor', the entropy of the noise of level 0 in bits per dimension.
    """
    D = math.prod(image_shape)
    nats = D * math.log(2)
    negative = negative_logs(schedule, image_shape, images)
    count = len(negative['density'])
    means = {
        kind: (values.mean(), float(np.std(values, ddof=min(1, count - 1))) / math.sqrt(count))
        for kind, values in negative.items()
    }
    result: dict[str, Any] = {
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
                total = None if error is None else math.hypot(spread, error) / nats
                result[f'{kind}_{side}{way}_error'] = total
    return result
