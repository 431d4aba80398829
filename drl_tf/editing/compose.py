"""Draws images from combinations of classes, such as '3 | 8' (3 or 8)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.files import written_aside
from drl_tf.core import composition, noise, operators
from drl_tf.core.diffusion import per_image
from drl_tf.core.langevin import LogDensity
from drl_tf.core.posterior import Effort, Observation, Posterior
from drl_tf.data import pipeline
from drl_tf.editing import expressions, report
from drl_tf.editing.expressions import Atom, Expression
from drl_tf.runs import checkpoint, pictures
from drl_tf.runs.inputs import finite

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.energy_model import EnergyModel

_EFFORT = Effort(num_steps=10, step=0.1)
_IMAGES = 500
_ITERATIONS = 200


def compose(
    config: Config,
    workdir: str,
    expression: str,
    count: int,
    weights: str = 'ema',
    step: int | None = None,
    output_dir: str = '',
) -> dict[str, str]:
    """Draws images from a combination of classes, and writes them to files (--mode=compose).

    Args:
      config: the configuration of a model with preconditioned energies.
      workdir: the run's directory.
      expression: the value of --expression, such as '3 & !8'; see `expressions.parse`.
      count: number of images.
      weights: 'ema' (averages) or 'raw'.
      step: step of the checkpoint; None: the newest.
      output_dir: directory for the files; '': `<workdir>/editing`.

    Returns:
      Lines to print, {label: path}: a picture and the images.

    Raises:
      UserError: there is no undamaged checkpoint, or the images are not finite.
    """
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32'), step)
    parsed = expressions.parse(expression)
    labels = [atom.label for atom in expressions.atoms(parsed)]
    heights = class_heights(model, labels, weights)
    images = drawn(model, parsed, heights, count, weights)
    slug = re.sub(r'\W+', '_', expression.replace('&', 'and').replace('|', 'or').replace('!', 'not'))[:60]
    name = [f'{step:08d}', weights, 'compose', slug, str(count), f'seed{config.training.seed}']
    root = report.root_of(workdir, output_dir, name)
    pictures.save_png(f'{root}.png', pictures.square(images))
    with written_aside(f'{root}.npz', 'wb') as file:
        np.savez(file, images=images)
    return {'grid': f'{root}.png', f'{count:,} images': f'{root}.npz'}


def drawn(
    model: EnergyModel,
    expression: Expression,
    heights: dict[int, np.ndarray],
    count: int,
    weights: str,
    seed: int | None = None,
) -> np.ndarray:
    """Draws images from a combination of classes.

    Args:
      model: a model of preconditioned energies.
      expression: a parsed expression over classes of the model.
      heights: log Z of each class in the expression, from `class_heights`.
      count: number of images.
      weights: 'ema' (averages) or 'raw'.
      seed: 0 to 2^31 - 1; None: that of the configuration.

    Returns:
      uint8 [count, H, W, C].
    """
    walk = model.walk
    seed = model.config.training.seed if seed is None else seed
    root = tf.constant(noise.root(seed, noise.SAMPLING))
    size = min(count, model.config.sampling.sample_batch_size)
    shape = model.config.image_shape
    at_index = _density(model, walk, expression, heights, weights)

    def part(first: tf.Tensor) -> tf.Tensor:
        nothing = Observation(operators.masked(tf.zeros(shape)), tf.zeros([size, *shape]))
        posterior = Posterior(walk, at_index, model.network_of(weights).std, nothing, _EFFORT, first)
        return posterior.draw(model.prior(size, noise.fold(root, noise.PRIOR), first), root)

    draw = tf.function(part, autograph=False)
    parts = [draw(tf.constant(first)).numpy() for first in range(0, count, size)]
    return pixels.to_uint8(finite(np.concatenate(parts)[:count]))


def _density(
    model: Any, walk: Schedule, expression: Any, heights: dict[int, np.ndarray], weights: str
) -> Any:
    """Returns a callable: noise levels, int32 [B] -> log density of the expression at these levels."""

    def at_index(index: tf.Tensor) -> LogDensity:
        angle = per_image(walk.angle, index)

        def of_class(label: int) -> LogDensity:
            labels = tf.fill(tf.shape(index), label + 1)
            return model.log_prob_at(angle, weights, ((labels, 1.0),))

        def of_atom(atom: Atom) -> LogDensity:
            log_prob = of_class(atom.label)
            log_z = per_image(heights[atom.label], index)
            return lambda x: log_prob(x) - log_z

        return composition.composed(expression, of_atom, reference=of_class(-1))

    return at_index


def class_heights(
    model: EnergyModel,
    labels: list[int],
    weights: str,
    after_level: Callable[[float], object] = lambda share: None,
) -> dict[int, np.ndarray]:
    """Estimates the constant log Z of each class at each noise level, so that classes can be mixed.

    F_c is the log density of class c up to a constant, log Z_c. Noisy training images are samples of the even
    mixture of the classes, mean_c exp(F_c - log Z_c). The estimates maximise their likelihood; no labels are
    needed. One common constant is chosen such that log p of the mixture and log p without a class have the
    same mean over the images.

    Args:
      model: a model of preconditioned energies with classes.
      labels: the classes to return.
      weights: 'ema' (averages) or 'raw'.
      after_level: callable; after each level, it gets the share of the levels that are done, 0 to 1.

    Returns:
      {class: log Z at each noise level that sampling visits, float64 [T + 1]}.
    """
    walk, config = model.walk, model.config
    clean = pixels.from_levels(pipeline.load_images(config.data, 'train', _IMAGES).astype(np.float32))
    seed = noise.fold(noise.root(config.training.seed, noise.LIKELIHOOD), noise.LABEL)
    classes = range(-1, config.data.num_classes)

    def densities(x: tf.Tensor, angle: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        count = tf.shape(x)[:1]
        terms = ((tf.fill(count, label + 1), 1.0),)
        return model.log_prob_at(tf.fill(count, angle), weights, terms)(x)

    log_prob = tf.function(densities, autograph=False, reduce_retracing=True)
    found = []
    for level, angle in enumerate(walk.angle):
        eps = noise.normal(noise.fold(seed, level), clean.shape).numpy()
        x = tf.cast(np.cos(angle) * clean + np.sin(angle) * eps, tf.float32)
        F = [log_prob(x, tf.constant(np.float32(angle)), tf.constant(label)).numpy() for label in classes]
        found.append(mixture_heights(np.array(F[1:], float) - F[0]))
        after_level(len(found) / len(walk.angle))
    return {label: np.array([log_z[label] for log_z in found]) for label in labels}


def mixture_heights(ratios: np.ndarray) -> np.ndarray:
    """Estimates log Z_c of the C components of an even mixture p, from samples of the mixture.

    Args:
      ratios: F_c(x) - log p(x) for n samples x of p, float [C, n]. Component c has the density
        exp(F_c) / Z_c.

    Returns:
      log Z_c, float64 [C].

    Examples:
      Adding 2 to the log density of a component adds 2 to its log Z:
      >>> x = np.linspace(-3, 3, 601)
      >>> mixture_heights(np.array([0 * x, 0 * x + 2])).round(3).tolist()
      [0.0, 2.0]
    """
    log_z = np.zeros(len(ratios))
    for _ in range(_ITERATIONS):
        heights = ratios - log_z[:, None]
        shares = heights - np.logaddexp.reduce(heights, axis=0)
        log_z += np.logaddexp.reduce(shares, axis=1) - math.log(ratios.shape[1] / len(ratios))
    # The mixture is p itself, so the mean of log(mixture / p) over the samples must be 0.
    mixture = np.logaddexp.reduce(ratios - log_z[:, None], axis=0) - math.log(len(ratios))
    return log_z + mixture.mean()
