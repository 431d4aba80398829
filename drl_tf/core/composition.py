"""Operators on log densities: products, mixtures and negations (Du, Li and Mordatch, NeurIPS 2020).

An expression is about ratios r = log p - log q to a common reference q, so that it has one prior and, in a
chain, one tether:

    a & b: r = r_a + r_b,    a | b: r = log(exp(r_a) / 2 + exp(r_b) / 2),    !a: r = -r_a.

The density is q exp(r). A sum or a difference needs no constants, as these leave its gradient. A mixture
compares heights: its log densities must be normalised, or it is a mixture of unknown weights.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from drl_tf.core.langevin import LogDensity


def composed(expression: Any, of_atom: Callable[[Any], LogDensity], reference: LogDensity) -> LogDensity:
    """Returns the log density of an expression, up to a constant.

    Args:
      expression: an atom; or a pair (operator, parts) with the operator '&', '|' or '!'.
      of_atom: callable, atom -> its log density.
      reference: log q.

    Returns:
      A callable, x -> log q(x) + r(x), float32 [B].

    Examples:
      Half of a mixture of two normal densities far apart, at the mean of one of them:

      >>> def normal(mean):
      ...     return lambda x: -tf.reduce_sum((x - mean) ** 2, [1, 2, 3]) / 2
      >>> mixture = composed(('|', (0.0, 9.0)), normal, reference=normal(4.5))
      >>> mixture(tf.zeros([1, 1, 1, 1])).numpy().round(3), np.log(0.5).round(3).item()
      (array([-0.693], dtype=float32), -0.693)
    """

    def log_density(x: tf.Tensor) -> tf.Tensor:
        base = reference(x)

        def ratio(part: Any) -> tf.Tensor:
            operator, parts = part if _is_operation(part) else ('', ())
            if not operator:
                return of_atom(part)(x) - base
            ratios = [ratio(inner) for inner in parts]
            if operator == '&':
                return tf.add_n(ratios)
            if operator == '|':
                return tf.reduce_logsumexp(tf.stack(ratios), axis=0) - tf.math.log(float(len(ratios)))
            return -ratios[0]

        return base + ratio(expression)

    return log_density


def _is_operation(part: Any) -> bool:
    return isinstance(part, tuple) and isinstance(part[0], str)
