"""Chooses between the averaged and the raw weights of a model."""

import enum
from collections.abc import Callable
from typing import Any


class Weights(enum.StrEnum):
    """Averaged weights ('ema'), used to sample and to score, or raw weights ('raw'), which training updates.

    Example:
      Weights('ema').of(model.ema_network, model.network)
    """

    EMA = 'ema'
    RAW = 'raw'

    def of(self, average: Any, raw: Any) -> Any:
        """Returns `average` if this is 'ema', `raw` if this is 'raw'."""
        return average if self is Weights.EMA else raw


def with_average(make: Callable[[str], Any], name: str) -> tuple[Any, Any]:
    """Builds a network, and a second one for its averaged weights.

    Args:
      make: callable, name -> new network.
      name: name of the network; the copy has the prefix `ema_`.

    Returns:
      The network and the copy, whose weights are equal and not trainable.
    """
    network = make(name)
    average = make(f'ema_{name}')
    average.trainable = False
    average.set_weights(network.get_weights())
    return network, average
