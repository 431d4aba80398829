"""The result of `EnergyModel.anomaly_scores`: scores of images at several noise levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Scores of n images at L noise levels t, to find images or pixels that are unlikely.

    At level t, a clean image x is scaled to x_t = A_t x and y_t = m_t x_t. F(y_t, t) is the model's
    unnormalised log density of y_t. The noise schedule gives the factors A_t and m_t, and the standard
    deviation S_t of the noise.

    Attributes:
      levels: the noise levels t, ascending, int32 [L].
      scoring_level: the level at which to compare images, one of `levels`.
      energy: the energies -F(y_t, t) in nats, float32 [n, L].
      gradient: norm of S_t grad log p(x_t) over all pixels and channels, float32 [n, L].
      maps: S_t grad log p(x_t) at each pixel, as the root mean square over the channels,
        float32 [n, L, H, W]. Large values show where an image is unlikely.
      log_prob: log p(x_t) in nats, float32 [n, L]; None if log Z is not known.
      bits_per_dim: (log(127.5) - log p(x_t) / (H W C)) / log(2), float32 [n, L]: the bits for each of the
        H W C values if grey levels are 1 apart, and not 2 / 255 as in x. None if log Z is not known.

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
        """The energy of each image at the noise level `scoring_level`, in nats, float64 [n].

        Compare images by this energy: the higher it is, the less likely is the image.
        """
        return self.energy[:, np.searchsorted(self.levels, self.scoring_level)].astype(np.float64)

    @property
    def total_gradient(self) -> np.ndarray:
        """One gradient norm per image: `gradient` merged over the noise levels, float32 [n].

        It is the root of the sum of the squared norms at all levels.
        """
        return np.sqrt(np.sum(self.gradient**2, axis=1))

    @property
    def total_map(self) -> np.ndarray:
        """One map of unlikely pixels per image: `maps` merged over the noise levels, float32 [n, H, W].

        Each pixel is the root of the sum of its squares at all levels.
        """
        return np.sqrt(np.sum(self.maps**2, axis=1))

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Concatenates scores of several batches of images into one `Scores`.

        Args:
          parts: the scores of each batch, by the same model at the same levels.
        """
        names = ('energy', 'gradient', 'maps', 'log_prob', 'bits_per_dim')
        joined: dict[str, Any] = {}
        for name in names:
            arrays = [getattr(part, name) for part in parts]
            joined[name] = None if arrays[0] is None else np.concatenate(arrays)
        return cls(parts[0].levels, parts[0].scoring_level, **joined)
