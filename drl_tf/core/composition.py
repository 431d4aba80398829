"""Operators on log densities: products, mixtures and negations (Du, Li and Mordatch, NeurIPS 2020).

An expression combines densities p_a, p_b, ... by their log ratios to one reference density q, such as
r_a = log p_a - log q:

    a & b: r = r_a + r_b,    a | b: r = log(exp(r_a) / 2 + exp(r_b) / 2),    !a: r = -r_a.

The result is the density q exp(r), which contains q once, however many densities are combined.

The operators & and ! need no normalised densities: a constant in log p_a does not change the gradient of r.
The operator | does: an unknown constant in log p_a is an unknown weight of p_a in the mixture.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from drl_tf.core.langevin import LogDensity


def composed(expression: Any, of_atom: Callable[[Any], LogDensity], reference: LogDensity) -> LogDensity:
    """Returns the log density of an expression, up to a constant.

    Args:
      expression: an atom; or a pair (operator, parts) with the operator '&', '|' or '!'.
      of_atom: callable, atom -> log density of the atom.
      reference: log q, the log density to which the ratios r are taken.

    Returns:
      A callable, x -> log q(x) + r(x), float32 [B].

    Examples:
      Two normal densities lie far apart. At the mean of one of them, their mixture has half its height:

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
