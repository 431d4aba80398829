"""Adam for gradients that are already summed over the replicas, because training clips the sum."""

from typing import Any

import keras
import tensorflow as tf


class SummedAdam(keras.optimizers.Adam):
    """Adam for gradients that are already summed over the replicas; it does not sum them again.

    All replicas must call `apply` with the same gradients. The updates are bitwise those of Keras' Adam. The
    step size is computed once per step instead of once per variable, which halves the graph.

    Example:
      SummedAdam(1e-4).apply(replica_context.all_reduce('sum', gradients), variables)
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        """Takes one Adam step: updates the variables in place, and returns None.

        Args:
          grads: the summed gradients, one tensor per variable.
          trainable_variables: the variables to update; None: those with which the optimizer was built.
        """
        step = tf.cast(self.iterations.value + 1, tf.float32)
        beta_1_power, beta_2_power = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        self._step_size = self.learning_rate * tf.sqrt(1 - beta_2_power) / (1 - beta_1_power)
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Updates one variable and its moments (Kingma and Ba, Algorithm 1).

        Keras calls this for each variable. `learning_rate` is ignored: `apply` has computed the step size.
        """
        index = self._get_variable_index(variable)
        m, v = self._momentums[index].value, self._velocities[index].value
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((tf.square(gradient) - v) * (1 - self.beta_2))
        variable.assign_sub(m * self._step_size / (tf.sqrt(v) + self.epsilon))
