"""Estimates log Z, which turns unnormalised energies into log densities, from noisy data.

F(x; level) = log p(x; level) + log Z(level). Score matching fits the gradient of F in x, which leaves log Z
undetermined. Noisy training images are samples of p, and give two estimates: thermodynamic integration of
d log Z = E_p[dF] over the noise levels, and Bennett's acceptance ratio (1976) between neighbouring levels.
"""

import dataclasses
import math

import numpy as np

WIDEST = 0.25  # Largest spacing of neighbouring levels in log-SNR, for images of few dimensions.
# Spacing times sqrt(D), for images of many dimensions. Two densities are then at most about _STEP^2 / 4 nats
# apart (their Kullback-Leibler divergence), which is so for noise that all D dimensions have.
_STEP = 4.0
_PARTS = 10
_BISECTIONS = 60


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    """log Z, the log of the normalising constant, at each of N noise levels, relative to the highest level.

    Attributes:
      log_z: log Z of each level in nats, float64 [N]; 0 at the highest level, which is the last.
      error: standard error of each log Z in nats, float64 [N].

    Examples:
      >>> Estimate(log_z=np.array([1.0, 0.5, 0.0]), error=np.zeros(3)).log_z[0].item()
      1.0
    """

    log_z: np.ndarray
    error: np.ndarray


def spacing(D: int) -> float:
    """Returns the spacing of noise levels in log-SNR at which the densities of neighbours overlap.

    The log ratio of neighbouring densities grows with the number D of dimensions, and so does the square of
    the spacing that they need: it is 4 / sqrt(D), at most 0.25.

    Examples:
      >>> spacing(256), round(spacing(3072), 3)
      (0.25, 0.072)
    """
    return min(WIDEST, _STEP / math.sqrt(D))


def grid(angles: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Adds noise levels between those of a model, so that neighbours are close enough to estimate log Z.

    The estimates compare neighbouring levels. The new levels are evenly spaced in log-SNR, -2 log tan(angle),
    between two levels of the model.

    Args:
      angles: the model's noise levels as angles in radians, in (0, pi / 2), ascending, float64 [T + 1].
      spacing: largest difference in log-SNR between neighbours in the result.

    Returns:
      angles: all N noise levels, old and new, as angles, ascending, float64 [N].
      positions: for each of the model's levels, its index among all N levels, int [T + 1].

    Examples:
      >>> angles, given = grid(np.array([0.1, 0.8, 1.5]), spacing=1.0)
      >>> len(angles), given.tolist()
      (12, [0, 5, 11])
    """
    log_snr = -2 * np.log(np.tan(angles))
    counts = np.maximum(1, np.ceil(-np.diff(log_snr) / spacing).astype(int))
    parts = [
        np.linspace(high, low, count, endpoint=False)
        for high, low, count in zip(log_snr[:-1], log_snr[1:], counts, strict=True)
    ]
    every = np.append(np.concatenate(parts), log_snr[-1])
    return np.arctan(np.exp(-every / 2)), np.append(0, np.cumsum(counts))


def integrated(angles: np.ndarray, slopes: np.ndarray) -> Estimate:
    """Estimates log Z, the log normalising constant, at each noise level by thermodynamic integration.

    F is the log density of the model without its normalising constant Z. The derivative of log Z in the angle
    is the mean of dF / d angle over the noisy images of that level. The function converts the derivatives in
    the angle to derivatives in the log-SNR, -2 log tan(angle), and integrates these by the trapezoid rule.

    Args:
      angles: the noise levels as angles in radians, ascending, float64 [N].
      slopes: dF / d angle of n noisy images at each level, float64 [N, n].

    Returns:
      log Z at each level relative to the highest, with standard errors from the spread over the n images.

    Examples:
      If dF / d angle is 1, log Z falls by 0.5 from the angle 1.0 to the angle 0.5:
      >>> integrated(np.linspace(0.5, 1.0, 100), slopes=np.ones([100, 4])).log_z[0].round(3).item()
      -0.5
    """
    log_snr = -2 * np.log(np.tan(angles))
    slopes = slopes * (np.sin(angles) * np.cos(angles) / 2)[:, None]  # d angle = -sin cos / 2 d log-SNR.
    steps = -np.diff(log_snr)[:, None] * (slopes[1:] + slopes[:-1]) / 2
    # log Z(level) - log Z(top) = -sum of the steps above the level.
    sums = np.concatenate([-np.cumsum(steps[::-1], axis=0)[::-1], np.zeros([1, slopes.shape[1]])])
    return Estimate(sums.mean(axis=1), sums.std(axis=1) / np.sqrt(slopes.shape[1]))


def bennett(forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """Estimates log Z_1 - log Z_0 for two densities exp(F_i) / Z_i by Bennett's acceptance ratio (1976).

    p_0 and p_1 are the two densities, and F_0 and F_1 their logs without the normalising constants Z_0 and
    Z_1. The function compares acceptance ratios by their logs, so they may be too small for a float64.

    Args:
      forward: F_1(x) - F_0(x) for n samples x of p_0, float64 [..., n].
      reverse: F_0(x) - F_1(x) for n samples x of p_1, float64 [..., n].

    Returns:
      log Z_1 - log Z_0 in nats, float64 [...], one for each pair of densities.

    Examples:
      >>> x = np.random.default_rng(0).normal(size=1000)        # From exp(-x^2 / 2).
      >>> y = x / 2                                             # From exp(-2 y^2).
      >>> round(float(bennett(-1.5 * x**2, 1.5 * y**2)), 1)     # About -log 2.
      -0.7
    """
    high = 1 + np.maximum(np.abs(forward).max(axis=-1), np.abs(reverse).max(axis=-1))
    low = -high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        shift = middle[..., None]
        is_below = _log_mean_sigmoid(reverse + shift) < _log_mean_sigmoid(forward - shift)
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return (low + high) / 2


def bridged(forward: np.ndarray, reverse: np.ndarray) -> Estimate:
    """Estimates log Z at each of N noise levels, by Bennett's acceptance ratio of neighbouring levels.

    F(x; i) is the log density of x at noise level i, without its normalising constant Z_i.

    Args:
      forward: row i is F(x; i + 1) - F(x; i) for n images x with the noise of level i, float64 [N - 1, n];
        n is at least 10.
      reverse: row i is F(x; i) - F(x; i + 1) for the same n images with the noise of level i + 1,
        float64 [N - 1, n].

    Returns:
      log Z at each level relative to the highest, with standard errors from the spread over ten parts of the
      images.

    Examples:
      >>> bridged(np.full([2, 20], -0.5), np.full([2, 20], 0.5)).log_z.round(6).tolist()
      [1.0, 0.5, 0.0]
    """

    def log_z(images: slice | np.ndarray) -> np.ndarray:
        rises = bennett(forward[:, images], reverse[:, images])
        return np.append(-np.cumsum(rises[::-1])[::-1], 0.0)

    parts = np.array([log_z(part) for part in np.array_split(np.arange(forward.shape[1]), _PARTS)])
    return Estimate(log_z(slice(None)), parts.std(axis=0, ddof=1) / np.sqrt(_PARTS))


def _log_mean_sigmoid(x: np.ndarray) -> np.ndarray:
    """Returns the log of the mean of 1 / (1 + exp(-x)) over the last axis of x, float64 [..., n]."""
    below = np.minimum(x, 0)  # 1 / (1 + exp(-x)) = exp(below) / (1 + exp(-|x|)).
    largest = below.max(axis=-1, keepdims=True)
    shares = np.exp(below - largest) / (1 + np.exp(-np.abs(x)))
    return largest[..., 0] + np.log(shares.mean(axis=-1))
