"""Stores what a page shows of a model: energies at each noise level, and states from noise to image."""

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
    """Energies of images under a model, and states of its sampler.

    An energy at level t is -F(y_t, t) in nats. Its unknown constant log Z differs from level to level, so
    only energies of the same level can be compared. At the top, x_T is white noise, with the energy
    |x|^2 / 2.

    Attributes:
      settings: JSON text of everything that decides the numbers: weights, seed, options of the sampler.
      step: step of the checkpoint.
      levels: the L measured levels t, ascending, int [L].
      noise: S_t, the standard deviation of the noise in x_t, float64 [L].
      train: energies of training images that were diffused to each level, float32 [L, n].
      held_out: energies of images of the test split that were diffused to each level, float32 [L, n'].
      sampled: energies of the model's samples at each level on their way to level 0, float32 [L, n''].
      states: pictures of the first m samples at S states from x_T to x_0, uint8 [S, m, H, W, C]; with the
        option `final_denoise`, the last state is the denoised image.
      state_levels: noise level of each state, int [S]: T, ..., 0, and -1 for the denoised image.
      state_energies: energy of each state, float32 [S, m]; for the denoised image, its energy at level 0.
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
        """The energies by kind of image, {'training', 'held out', 'sampled': float32 [L, n]}."""
        return {'training': self.train, 'held out': self.held_out, 'sampled': self.sampled}

    def save(self, workdir: str) -> None:
        """Writes `report.npz` into the workdir."""
        with written_aside(os.path.join(workdir, FILE_NAME), 'wb') as file:
            np.savez_compressed(file, **dataclasses.asdict(self))


def load(workdir: str, problems: list[str]) -> Measured | None:
    """Reads `report.npz` of a run.

    Args:
      workdir: the run's directory.
      problems: list to which `load` adds a sentence if the file is damaged.

    Returns:
      The measurements; None if the file is missing or damaged.
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
    """Returns the Kolmogorov-Smirnov distance of two sets of energies.

    The distance is the largest difference of the two empirical distribution functions.

    Args:
      first: float [n].
      second: float [m].

    Returns:
      0 if the sets are distributed alike, up to 1 if they do not overlap.

    Examples:
      >>> distance(np.arange(4), np.arange(4)), distance(np.arange(4), np.arange(4) + 10)
      (0.0, 1.0)
    """
    return float(stats.ks_2samp(first, second).statistic)


def chance(first: int, second: int) -> float:
    """Returns the `distance` that chance alone exceeds in 5 % of all cases (Smirnov 1939).

    The two sets are then drawn from the same distribution.

    Args:
      first, second: sizes of the sets.

    Examples:
      >>> round(chance(256, 256), 3)
      0.12
    """
    return _CRITICAL * (1 / first + 1 / second) ** 0.5
