"""Energy-based models of images by diffusion recovery likelihood (Gao et al., ICLR 2021)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drl_tf import api

__version__ = '0.1.0'


def load(model: str | os.PathLike, precision: str = 'float32') -> api.Model:
    """Loads a trained model; see `drl_tf.api.Model` for what it can do.

    Args:
      model: the name of one that comes with the package, such as 'digits'; or a directory: that of a run, or
        of an exported model.
      precision: 'float32'; 'bfloat16', which is faster where the hardware computes in it; or 'auto', which is
        'bfloat16' on such hardware and 'float32' elsewhere.

    Returns:
      A `drl_tf.api.Model`.

    Raises:
      drl_tf.base.errors.UserError: there is no such model, or it is damaged.

    Examples:
      >>> model = drl_tf.load('digits')
      >>> images = model.sample(4, seed=1, labels=3)        # uint8 [4, 16, 16, 1]
      >>> energies = model.energy(images, labels=3)         # float32 [4], in nats
      >>> images.shape, energies.shape
      ((4, 16, 16, 1), (4,))
    """
    from drl_tf import api as interface

    return interface.load(model, precision)
