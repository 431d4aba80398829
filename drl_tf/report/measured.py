"""Stores what a run's report page shows: energies at each noise level, and images from noise to sample."""

from __future__ import annotations

import dataclasses
import os
import zipfile

import numpy as np
from scipy import stats

from drl_tf.base.files import written_aside

FILE_NAME = 'report.npz'
_CRITICAL = 1.358  # 95 % quantile of the limiting Kolmogorov distribution.


@dataclasses.dataclass(frozen=True)
class Measured:
    """Energies of images under a model, and samples on their way from noise to image.

    The energy of a noisy image at noise level t is -F in nats. F is the model's log density up to the unknown
    constant log Z of the level, so only energies at the same level can be compared. At the top level T,
    energies of the paper have no network: there the energy is that of white noise x, |x|^2 / 2.

    Attributes:
      settings: JSON text of all that decides the numbers: weights, seed, options of the sampler.
      step: training step of the checkpoint.
      levels: the L measured noise levels t, ascending, int [L].
      noise: standard deviation of the noise at each of these levels, between 0 and 1, float64 [L].
      train: energies of n training images, to which the noise of each level was added, float32 [L, n].
      held_out: energies of n' test images with noise added likewise, float32 [L, n'].
      sampled: energies of n'' samples in the making, when the sampler reaches each level, float32 [L, n''].
      states: the first m samples at S moments on the way from noise to image, uint8 [S, m, H, W, C].
      state_levels: noise level at each moment, int [S], from T down to 0. With the option `final_denoise`,
        the denoised images are one more moment, with level -1.
      state_energies: energy of each sample at each moment, float32 [S, m].
    """

    settings: str
    step: int
    levels: np.ndarray
    noise: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    sampled: np.ndarray
    states: np.ndarray
    state_levels: np.ndarray
    state_energies: np.ndarray

    def __post_init__(self) -> None:
        states = self.states.shape[:2]
        if not (
            self.states.ndim == 5
            and self.states.dtype == np.uint8
            and self.state_energies.shape == states
            and self.state_levels.shape == states[:1]
            and self.noise.shape == self.levels.shape
            and all(each.ndim == 2 and len(each) == len(self.levels) for each in self.groups.values())
        ):
            raise ValueError('shapes of its arrays do not fit together')

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Energies by kind of image, {'training', 'held out' or 'sampled': float32 [levels, images]}."""
        return {'training': self.train, 'held out': self.held_out, 'sampled': self.sampled}

    def save(self, workdir: str) -> None:
        """Writes the measurements to `report.npz` in the workdir."""
        with written_aside(os.path.join(workdir, FILE_NAME), 'wb') as file:
            np.savez_compressed(file, **dataclasses.asdict(self))


def load(workdir: str, problems: list[str]) -> Measured | None:
    """Reads the measurements in `report.npz` of a run.

    Args:
      workdir: the run's directory.
      problems: list to which a sentence is added if the file is damaged.

    Returns:
      The energies and images that the run's report page shows; None if the file is missing or damaged.
    """
    path = os.path.join(workdir, FILE_NAME)
    if not os.path.exists(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {field.name: file[field.name] for field in dataclasses.fields(Measured)}
        return Measured(**{**arrays, 'settings': str(arrays['settings']), 'step': int(arrays['step'])})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        problems.append(f'{FILE_NAME} is damaged ({error}): --mode=report measures again.')
        return None


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Kolmogorov-Smirnov distance between two sets of energies.

    This is the largest difference between their empirical distribution functions.

    Args:
      first: the energies in one set, float [n].
      second: the energies in the other set, float [m].

    Returns:
      A number from 0 (equal distributions) to 1 (no overlap).

    Examples:
      >>> distance(np.arange(4), np.arange(4)), distance(np.arange(4), np.arange(4) + 10)
      (0.0, 1.0)
    """
    return float(stats.ks_2samp(first, second).statistic)


def chance(first: int, second: int) -> float:
    """Returns the Kolmogorov-Smirnov distance that two sets from one distribution exceed in 5 % of cases.

    A larger distance suggests that two sets come from different distributions (Smirnov 1939).

    Args:
      first, second: number of elements of the two sets.

    Examples:
      >>> round(chance(256, 256), 3)
      0.12
    """
    return _CRITICAL * (1 / first + 1 / second) ** 0.5
