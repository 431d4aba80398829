"""Adam for gradients that the training step has summed over the replicas itself, in order to clip them."""

import keras


class SummedAdam(keras.optimizers.Adam):
    """Keras' Adam without its own all-reduce: `apply` takes gradients that all replicas share already.

    Example:
      SummedAdam(1e-4).apply(replica_context.all_reduce('sum', gradients), variables)
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars
