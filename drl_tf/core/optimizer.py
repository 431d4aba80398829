"""Adam for gradients that are already summed over the replicas.

The training step sums them itself, because it clips the sum.
"""

from typing import Any

import keras


class SummedAdam(keras.optimizers.Adam):
    """Keras' Adam without its all-reduce; all replicas call `apply` with the same gradients.

    Example:
      SummedAdam(1e-4).apply(replica_context.all_reduce('sum', gradients), variables)
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars
