"""Constants that turn energies into normalised log densities, from samples of the data at many noise levels.

F(x; level) = log p(x; level) + log Z(level). Score matching teaches the slopes of F in x and leaves log Z
open. Two estimates find it from noisy data, which are samples of p: thermodynamic integration of d log Z =
E_p[dF] along the levels, and Bennett's acceptance ratio between neighbouring levels.
"""

import dataclasses

import numpy as np

_PARTS = 10
_BISECTIONS = 60


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    """log Z at each noise level of a grid, against that of the top one.

    Attributes:
      log_z: nats, float64 [N], 0 at the end.
      error: standard error of each, float64 [N].
    """

    log_z: np.ndarray
    error: np.ndarray


def grid(angles, spacing):
    """Noise levels between given ones, evenly spaced in log-SNR = -2 log tan(angle).

    Args:
      angles: noise levels, rising, float64 [T + 1].
      spacing: largest step of the log-SNR.

    Returns:
      The angles of the grid, float64 [N], and where in it the given ones are, int [T + 1].
    """
    log_snr = -2 * np.log(np.tan(angles))
    counts = np.maximum(1, np.ceil(-np.diff(log_snr) / spacing).astype(int))
    parts = [
        np.linspace(high, low, count, endpoint=False)
        for high, low, count in zip(log_snr[:-1], log_snr[1:], counts, strict=True)
    ]
    every = np.append(np.concatenate(parts), log_snr[-1])
    return np.arctan(np.exp(-every / 2)), np.append(0, np.cumsum(counts))


def integrated(angles, slopes):
    """Thermodynamic integration, by the trapezoid rule in log-SNR.

    Args:
      angles: the grid, float64 [N].
      slopes: dF / d angle of noisy data at each level, float64 [N, n].

    Returns:
      An `Estimate`.
    """
    log_snr = -2 * np.log(np.tan(angles))
    slopes = slopes * (np.sin(angles) * np.cos(angles) / 2)[:, None]  # d angle = -sin cos / 2 d log-SNR.
    steps = -np.diff(log_snr)[:, None] * (slopes[1:] + slopes[:-1]) / 2
    # log Z(level) - log Z(top) = -sum of the steps above the level.
    sums = np.concatenate([-np.cumsum(steps[::-1], axis=0)[::-1], np.zeros([1, slopes.shape[1]])])
    return Estimate(sums.mean(axis=1), sums.std(axis=1) / np.sqrt(slopes.shape[1]))


def bennett(forward, reverse):
    """Bennett's acceptance ratio (1976): log Z_1 - log Z_0 of two densities exp F_i / Z_i.

    Args:
      forward: F_1(x) - F_0(x) of n samples of p_0, float64 [n].
      reverse: F_0(x) - F_1(x) of n samples of p_1, float64 [n].

    Returns:
      The difference in nats.
    """

    low = -1 - max(np.abs(forward).max(), np.abs(reverse).max())
    high = -low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _sigmoid(reverse + middle).mean() < _sigmoid(forward - middle).mean():
            low = middle
        else:
            high = middle
    return (low + high) / 2


def bridged(forward, reverse):
    """`bennett` between all neighbours of a grid.

    Args:
      forward: F at the next level minus F, of noisy data of each level but the last, float64 [N - 1, n].
      reverse: F at the level before minus F, of each but the first, float64 [N - 1, n].

    Returns:
      An `Estimate`; its errors are the spread over ten parts of the images, which all levels share.
    """

    def log_z(images):
        rises = [bennett(up[images], down[images]) for up, down in zip(forward, reverse, strict=True)]
        return np.append(-np.cumsum(rises[::-1])[::-1], 0.0)

    parts = np.array([log_z(part) for part in np.array_split(np.arange(forward.shape[1]), _PARTS)])
    return Estimate(log_z(slice(None)), parts.std(axis=0, ddof=1) / np.sqrt(_PARTS))


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))
