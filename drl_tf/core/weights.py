"""Chooses between the averaged and the raw weights of a model."""

import enum
from collections.abc import Callable
from typing import Any


class Weights(enum.StrEnum):
    """Which weights of a model to use: moving averages ('ema') or the weights as trained ('raw').

    Averages are the default in sampling and scoring; training updates the raw weights. The methods of
    `core.energy_model.EnergyModel` also take the strings 'ema' and 'raw'.

    Example:
      Weights('ema').of(model.ema_network, model.network)
    """

    EMA = 'ema'
    RAW = 'raw'

    def of(self, average: Any, raw: Any) -> Any:
        """Chooses between two values, such as networks.

        Args:
          average: the result for 'ema'.
          raw: the result for 'raw'.
        """
        return average if self is Weights.EMA else raw


def with_average(make: Callable[[str], Any], name: str) -> tuple[Any, Any]:
    """Builds a network, and a copy that holds its averaged weights.

    Args:
      make: callable that takes a name and returns a new network with random weights.
      name: name of the network; the name of the copy is `ema_` and this name.

    Returns:
      network: the network to train.
      average: the copy, whose weights are equal at first and not trainable.
    """
    network = make(name)
    average = make(f'ema_{name}')
    average.trainable = False
    average.set_weights(network.get_weights())
    return network, average
