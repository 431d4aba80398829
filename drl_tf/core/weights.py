"""Which weights of a model are in use."""

import enum
from collections.abc import Callable
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


def with_average(make: Callable[[str], Any], name: str) -> tuple[Any, Any]:
    """Makes a network, and a second one for its averaged weights; they are equal at first.

    Args:
      make: callable, name -> network.
      name: name of the network; the averaged one has the prefix `ema_`.
    """
    network = make(name)
    average = make(f'ema_{name}')
    average.trainable = False
    average.set_weights(network.get_weights())
    return network, average
