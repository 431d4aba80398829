"""The log density of an expression over two models, such as 'a & b' or 'a3 & !b8'.

All log densities are of noisy images at one noise level. The reference q is the geometric mean of the two
models, log q = (log p_a + log p_b) / 2, and `composition` combines the log ratios to q. So

    a & b: (log p_a + log p_b) / 2,         a | b: log(p_a / 2 + p_b / 2),
    a & !b: (3 log p_a - log p_b) / 2,      a3 & b8: log p_a(.|3) + log p_b(.|8) - (log p_a + log p_b) / 2.

Without |, the weights of the log densities sum to 1. At the top noise level, where each density is that of
white noise, the result then is that of white noise too. Sampling starts from the `prior` of the first model.
With one model in both places, the expression is that over the classes of this model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.core import composition
from drl_tf.core.diffusion import per_image
from drl_tf.core.guidance import guided, network_labels
from drl_tf.core.weights import Weights
from drl_tf.editing.class_heights import class_heights
from drl_tf.editing.expressions import Atom, Expression

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.core.langevin import LogDensity
    from drl_tf.core.posterior import LogProbAt


def heights(
    models: Sequence[EnergyModel], known: Sequence[Sequence[float]], atoms: Sequence[Atom]
) -> dict[Atom, np.ndarray]:
    """Returns log Z of the classes and models in an expression, at all noise levels of sampling.

    log Z of a model is known. log Z of a class is the log Z of its model plus a difference, which is
    estimated here from noisy training images.

    Args:
      models: the models a and b, both trained with --energy=preconditioned.
      known: for each of the two models, its log Z at all T + 1 levels of its noise schedule, in nats, from
        `pairs.known_log_z`.
      atoms: the classes and models in the expression, from `expressions.atoms`.

    Returns:
      {atom: log Z, float64 [number of levels + 1]}. The first entries are for the noise levels that sampling
      visits, lowest level first; the last is for white noise.
    """
    found = {}
    for number, (model, log_z) in enumerate(zip(models, known, strict=True)):
        of_model = np.array(log_z)[np.append(model.walk.levels, model.schedule.num_levels)]
        labels = [atom.label for atom in atoms if atom.model == number and atom.label >= 0]
        relative = class_heights(model, labels, Weights.EMA) if labels else {}
        for atom in atoms:
            if atom.model == number:
                found[atom] = of_model + relative.get(atom.label, 0.0)
    return found


def log_prob_at(
    models: Sequence[EnergyModel],
    expression: Expression,
    log_z: Mapping[Atom, np.ndarray],
    weights: Weights = Weights.EMA,
) -> LogProbAt:
    """Returns a function that computes the log density of an expression over two models, up to a constant.

    Args:
      models: the models a and b, both trained with --energy=preconditioned. The noise levels are those that
        model a visits in sampling, numbered from 0, the lowest, to T.
      expression: the expression as a syntax tree, from `expressions.parse`.
      log_z: {atom: log Z at each of the T + 1 noise levels, float64 [T + 1]}; an atom is a class or model in
        the expression. For a missing atom, log Z counts as 0. {} is enough for an expression without | (or):
        there, log Z only adds a constant at each level.
      weights: 'ema' (averages) or 'raw'.

    Returns:
      f, called as f(levels)(images): `levels` are noise levels, int32 [B], and `images` the noisy images,
      float32 [B, H, W, C]. The result is float32 [B].
    """
    walk = models[0].walk
    nothing = np.zeros(walk.num_levels + 1)

    def at_index(index: tf.Tensor) -> LogDensity:
        angle = per_image(walk.angle, index)

        def of_atom(atom: Atom) -> LogDensity:
            labels = None if atom.label < 0 else tf.fill(tf.shape(index), network_labels(atom.label))
            log_prob = models[atom.model].log_prob_at(angle, weights, guided(labels))
            constant = per_image(log_z.get(atom, nothing), index)
            return lambda x: log_prob(x) - constant

        def geometric_mean(x: tf.Tensor) -> tf.Tensor:
            return (of_atom(Atom(0, -1))(x) + of_atom(Atom(1, -1))(x)) / 2

        return composition.composed(expression, of_atom, reference=geometric_mean)

    return at_index
