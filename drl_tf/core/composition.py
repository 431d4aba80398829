"""Operators on log densities: products, mixtures and negations (Du, Li and Mordatch, NeurIPS 2020).

Each density p_a is given by its log ratio to one reference density q: r_a = log p_a - log q. An operator
combines the ratios:

    a & b: r = r_a + r_b,    a | b: r = log(exp(r_a) / 2 + exp(r_b) / 2),    !a: r = -r_a.

The result is the density q exp(r).

The operators & and ! work with unnormalised densities: a constant in log p_a does not change the gradient of
r. The operator | needs normalised densities: a constant in log p_a changes the weight of p_a in the mixture.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from drl_tf.core.langevin import LogDensity


def composed(expression: Any, of_atom: Callable[[Any], LogDensity], reference: LogDensity) -> LogDensity:
    """Returns the log density of a product, mixture or negation of densities, up to a constant.

    Each density p_a enters by its log ratio to a reference density q, r_a = log p_a - log q. The operators
    combine the log ratios: '&' (product) adds them, '|' (mixture with equal weights) takes the log of the
    mean of exp(r_a), and '!' (negation) changes the sign.

    Args:
      expression: an atom or an operation. An atom is any value that names a density, such as an int. An
        operation is a pair (operator, expressions): '&', '|' or '!', and a tuple of expressions (for '!', of
        one expression).
      of_atom: callable that takes an atom and returns its log density. A log density is a callable that maps
        x, float32 [B, H, W, C], to float32 [B].
      reference: log q, the log density of the reference.

    Returns:
      A callable that maps x, float32 [B, H, W, C], to log q(x) + r(x), float32 [B]. r is the combined log
      ratio.

    Examples:
      Two normal densities lie far apart. At the mean of the first, the mixture is half as high as the first:

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
