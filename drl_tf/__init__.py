"""Energy-based models of images by diffusion recovery likelihood (Gao et al., ICLR 2021)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drl_tf import api

__version__ = '0.1.0'


def load(model: str | os.PathLike, precision: str = 'float32') -> api.Model:
    """Loads a trained model; `drl_tf.api.Model` describes its methods.

    Args:
      model: the name of a model that comes with the package, such as 'digits'; or the directory of a run or
        of an exported model.
      precision: 'float32'; 'bfloat16', which is faster if the hardware computes in bfloat16; or 'auto', which
        means 'bfloat16' on such hardware and 'float32' on any other.

    Returns:
      A `drl_tf.api.Model`.

    Raises:
      drl_tf.base.errors.UserError: the model does not exist or is damaged.

    Examples:
      >>> model = drl_tf.load('digits')
      >>> images = model.sample(4, seed=1, labels=3)        # uint8 [4, 16, 16, 1]
      >>> energies = model.energy(images, labels=3)         # float32 [4], in nats
      >>> images.shape, energies.shape
      ((4, 16, 16, 1), (4,))
    """
    from drl_tf import api as interface

    return interface.load(model, precision)
