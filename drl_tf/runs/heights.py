"""The heights (log Z) of a model's energies, which `--mode=likelihood --method=direct` estimates."""

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
    """The constants log Z that turn energies into log densities, and typical values of log p.

    Attributes:
      log_z_0: two estimates of log Z of x_0, in ascending order.
      log_z: log Z of each noise level by Bennett's ratio, [T + 1] in nats.
      log_z_error: standard error of each entry of `log_z`.
      typical_mean: mean of log p over training images without noise, at the scoring level.
      typical_std: standard deviation of log p over these images.
    """

    log_z_0: list[float]
    log_z: list[float]
    log_z_error: list[float]
    typical_mean: float
    typical_std: float

    @classmethod
    def known(cls, values: Mapping[str, Any] | None) -> Heights:
        """Returns `Heights` with the attributes `values`; raises UserError if `values` is None."""
        if values is None:
            raise UserError(
                'the heights of the energies are not known: run `python run.py --mode=likelihood` with the '
                'workdir of the run (a model from Python: export(DIR), then --model=DIR and a new '
                '--workdir), and load that workdir with from_preset'
            )
        return cls(**values)

    def log_prob(
        self, schedule: Schedule, image_shape: tuple[int, int, int], energies: np.ndarray, level: np.ndarray
    ) -> np.ndarray:
        """Computes log p(x_t) from energies -F(y_t, t), y_t = m_t x_t; float32, of the shape of the energies.

        Args:
          schedule: noise levels of the model.
          image_shape: (H, W, C).
          energies: float32 [n] or [n, L].
          level: t of each energy, int32 [n], or of each column of energies, int32 [L].
        """
        return (self.constants(schedule, image_shape, level) - energies).astype(np.float32)

    def constants(
        self, schedule: Schedule, image_shape: tuple[int, int, int], level: np.ndarray
    ) -> np.ndarray:
        """Returns D log m_t - log Z_t: log p(x_t) plus the energy; float64, of the shape of `level`."""
        return math.prod(image_shape) * np.log(schedule.m[level]) - np.array(self.log_z)[level]
