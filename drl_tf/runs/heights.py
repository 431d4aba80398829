"""The constants log Z of a model's energies; --mode=likelihood, for points --mode=density, estimates them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.core import heights

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule


@dataclasses.dataclass(frozen=True)
class Heights:
    """The constants log Z of a model, which turn its unnormalised log densities into log densities.

    F(y_t, t) is the model's unnormalised log density of y_t, a scaled image with the noise of level t = 0..T.
    Z_t is the normalising constant: the log density is log p(y_t) = F(y_t, t) - log Z_t.

    Attributes:
      log_z_0: two estimates of log Z at level 0 in nats, the smaller one first: one by thermodynamic
        integration, one by Bennett's acceptance ratio.
      log_z: log Z of each noise level in nats, [T + 1], by Bennett's acceptance ratio.
      log_z_error: standard error of each entry of `log_z`, [T + 1].
      typical_mean: mean of log p over training images in nats, at the level at which images are compared
        (`EnergyModel.scoring_level`).
      typical_std: standard deviation of log p over these images in nats.
      log_z_integration: log Z of each noise level in nats, [T + 1], by thermodynamic integration, to compare
        with `log_z`; () if an earlier version wrote the values.
      log_z_integration_error: standard error of each entry of `log_z_integration`, [T + 1].
    """

    log_z_0: list[float]
    log_z: list[float]
    log_z_error: list[float]
    typical_mean: float
    typical_std: float
    log_z_integration: Sequence[float] = ()
    log_z_integration_error: Sequence[float] = ()

    @classmethod
    def known(cls, values: Mapping[str, Any] | None) -> Heights:
        """Builds `Heights` from a dict.

        Args:
          values: {name of an attribute: value}, or None.

        Raises:
          UserError: `values` is None, because nobody has estimated log Z of the model.
        """
        if values is None:
            raise UserError(
                'log Z of the energies is not known: run `python run.py --mode=likelihood` (for points '
                '--mode=density) with the --workdir of the run (a model from Python: export(DIR), then '
                '--model=DIR and a new --workdir), and load that workdir with from_preset'
            )
        return cls(**values)

    def log_prob(
        self, schedule: Schedule, image_shape: tuple[int, int, int], energies: np.ndarray, level: np.ndarray
    ) -> np.ndarray:
        """Turns energies of clean images into log densities in nats.

        At noise level t, a clean image x is scaled to x_t = A_t x and to y_t = m_t x_t; the schedule has A_t
        and m_t. Its energy is -F(y_t, t), where F is the model's unnormalised log density of y_t, with the
        normalising constant Z_t. Its log density is log p(x_t) = D log m_t - log Z_t - energy, with
        D = H W C.

        Args:
          schedule: the noise levels of the model, a `Schedule`.
          image_shape: (H, W, C).
          energies: float32 [n], or [n, L] for L levels.
          level: noise level t of each energy, int32 [n]; for energies [n, L], t of each column, int32 [L].

        Returns:
          log p(x_t) of each energy, float32, of the shape of `energies`.
        """
        return (self.constants(schedule, image_shape, level) - energies).astype(np.float32)

    def constants(
        self, schedule: Schedule, image_shape: tuple[int, int, int], level: np.ndarray
    ) -> np.ndarray:
        """Returns the constant c_t of each level t in log p(x_t) = c_t - energy, in nats.

        c_t is D log m_t - log Z_t. m_t is the factor in y_t = m_t x_t, Z_t is the normalising constant of the
        density of y_t, and D = H W C.

        Args:
          schedule: the noise levels of the model, a `Schedule`.
          image_shape: (H, W, C).
          level: noise levels t, int32 of any shape.

        Returns:
          One number for each level, float64, of the shape of `level`.
        """
        return math.prod(image_shape) * np.log(schedule.m[level]) - np.array(self.log_z)[level]


def effort_of_annealing(result: Mapping[str, Any]) -> tuple[bool, int]:
    """Returns a key that is largest for the best result of annealing.

    Results whose chains the model's own proposals carried come first, then those with more transitions over
    all chains.

    Args:
      result: the result, as in its JSON file.
    """
    return result.get('path') == 'walk', result.get('transitions', 0) * result.get('num_chains', 0)


def is_sound_direct(result: Mapping[str, Any], D: int) -> bool:
    """Returns whether a stored result of --mode=likelihood is by --method=direct, at levels close enough.

    Results of images of many dimensions that lack the entry 'spacing' compared levels too far apart.

    Args:
      result: the content of a JSON file in `<workdir>/likelihood`.
      D: number of values of an image.

    Examples:
      >>> is_sound_direct({'method': 'direct'}, D=256), is_sound_direct({'method': 'direct'}, D=3072)
      (True, False)
    """
    if result.get('method') != 'direct':
        return False
    return result.get('spacing', heights.WIDEST) == heights.spacing(D)
