"""Energy-based models of images by diffusion recovery likelihood (Gao et al., ICLR 2021).

`EnergyModel` is a model; `upload_preset` publishes a model. `import drl_tf` does not load TensorFlow; the
first use of one of the two names does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drl_tf.api import EnergyModel as EnergyModel
    from drl_tf.serving.hub import upload_preset as upload_preset

__version__ = '0.1.0'
__all__ = ['EnergyModel', 'load', 'upload_preset']


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first used."""
    if name == 'EnergyModel':
        from drl_tf import api

        return api.EnergyModel
    if name == 'upload_preset':
        from drl_tf.serving import hub

        return hub.upload_preset
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def load(model: str | os.PathLike, precision: str = 'float32') -> EnergyModel:
    """Loads a model. Deprecated: use `EnergyModel.from_preset`.

    Args:
      model: name of a model of the package, a path, or another handle that `from_preset` takes.
      precision: 'float32' or 'bfloat16'; `from_preset` calls it `dtype`.
    """
    from drl_tf import api
    from drl_tf.base.deprecation import deprecated

    deprecated('drl_tf.load', 'drl_tf.EnergyModel.from_preset')
    return api.EnergyModel.from_preset(model, dtype=precision)
