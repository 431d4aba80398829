"""The constants log Z of a model's energies, which --mode=likelihood --method=direct estimates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base.errors import UserError

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule


@dataclasses.dataclass(frozen=True)
class Heights:
    """The constants log Z of a model, which turn energies into densities: log p(y_t) = F(y_t, t) - log Z_t.

    Attributes:
      log_z_0: two estimates of log Z at level 0, ascending.
      log_z: log Z of each noise level in nats, [T + 1], by Bennett's acceptance ratio.
      log_z_error: standard error of each entry of `log_z`.
      typical_mean: mean of log p over training images, at the scoring level (`EnergyModel.scoring_level`).
      typical_std: standard deviation of log p over these images.
    """

    log_z_0: list[float]
    log_z: list[float]
    log_z_error: list[float]
    typical_mean: float
    typical_std: float

    @classmethod
    def known(cls, values: Mapping[str, Any] | None) -> Heights:
        """Builds `Heights` from {attribute: value}; raises UserError if `values` is None."""
        if values is None:
            raise UserError('log Z of the energies is not known: run --mode=likelihood --method=direct first')
        return cls(**values)

    def log_prob(
        self, schedule: Schedule, image_shape: tuple[int, int, int], energies: np.ndarray, level: np.ndarray
    ) -> np.ndarray:
        """Turns energies -F(m_t x_t, t) into log p(x_t) in nats, float32, of the shape of the energies.

        Args:
          schedule: noise levels of the model.
          image_shape: (H, W, C).
          energies: float32 [n] or [n, L].
          level: t of each energy, int32 [n]; for energies [n, L], t of each column, int32 [L].
        """
        return (self.constants(schedule, image_shape, level) - energies).astype(np.float32)

    def constants(
        self, schedule: Schedule, image_shape: tuple[int, int, int], level: np.ndarray
    ) -> np.ndarray:
        """Returns D log m_t - log Z_t, which is log p(x_t) plus the energy, for each level t.

        Args:
          schedule: noise levels of the model.
          image_shape: (H, W, C), D = H W C.
          level: t, int32 of any shape.

        Returns:
          float64, of the shape of `level`.
        """
        return math.prod(image_shape) * np.log(schedule.m[level]) - np.array(self.log_z)[level]
