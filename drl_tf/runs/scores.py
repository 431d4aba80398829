"""The scores of images at several noise levels, which `EnergyModel.anomaly_scores` returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Scores of n images at L noise levels.

    Attributes:
      levels: the noise levels t, ascending, int32 [L].
      scoring_level: the level that ranks images best, one of `levels`.
      energy: -F(m_t A_t x, t) in nats, float32 [n, L].
      gradient: norm of S_t grad log p(A_t x), the gradient in standard deviations S_t of the noise, float32
        [n, L].
      maps: the same gradient at each pixel, as the root mean square over the channels, float32 [n, L, H, W];
        large values show where an image is unlikely.
      log_prob: log p(A_t x) in nats, float32 [n, L]; None if the heights (log Z) are not known.
      bits_per_dim: -log2 p(A_t x) per dimension, where p is the density per grey level, float32 [n, L]; None
        if the heights are not known.

    Examples:
      >>> model = drl_tf.EnergyModel.from_preset('digits')
      >>> found = model.anomaly_scores(np.zeros([2, 16, 16, 1]))
      >>> found.levels.tolist(), found.maps.shape, found.total_map.shape
      ([0, 1, 2, 3, 4, 5], (2, 6, 16, 16), (2, 16, 16))
    """

    levels: np.ndarray
    scoring_level: int
    energy: np.ndarray
    gradient: np.ndarray
    maps: np.ndarray
    log_prob: np.ndarray | None = None
    bits_per_dim: np.ndarray | None = None

    @property
    def scoring_energy(self) -> np.ndarray:
        """The energy of each image at the scoring level, float64 [n]."""
        return self.energy[:, np.searchsorted(self.levels, self.scoring_level)].astype(np.float64)

    @property
    def total_gradient(self) -> np.ndarray:
        """The norm of the gradients of all levels together, float32 [n]."""
        return np.sqrt(np.sum(self.gradient**2, axis=1))

    @property
    def total_map(self) -> np.ndarray:
        """One map per image: the root of the sum of squares of `maps` over the levels, float32 [n, H, W]."""
        return np.sqrt(np.sum(self.maps**2, axis=1))

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Joins the scores of several sets of images by one model."""
        names = ('energy', 'gradient', 'maps', 'log_prob', 'bits_per_dim')
        joined: dict[str, Any] = {}
        for name in names:
            arrays = [getattr(part, name) for part in parts]
            joined[name] = None if arrays[0] is None else np.concatenate(arrays)
        return cls(parts[0].levels, parts[0].scoring_level, **joined)
