"""Which weights of a model are in use."""

import enum
from typing import Any


class Weights(enum.StrEnum):
    """Averaged weights ('ema'), which sample and score, or raw weights ('raw'), which train.

    Example:
      Weights('ema').of(model.ema_network, model.network)
    """

    EMA = 'ema'
    RAW = 'raw'

    def of(self, average: Any, raw: Any) -> Any:
        """Returns `average` for 'ema', `raw` for 'raw'."""
        return average if self is Weights.EMA else raw
