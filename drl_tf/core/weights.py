"""Which weights of a model are in use."""

import enum


class Weights(enum.StrEnum):
    """Averaged weights, which sample and score, or the raw ones, which train; equal to 'ema' and 'raw'.

    Example:
      Weights('ema').of(model.ema_network, model.network)
    """

    EMA = 'ema'
    RAW = 'raw'

    def of(self, average, raw):
        """The one of a pair that these weights are."""
        return average if self is Weights.EMA else raw
