"""Draws images from expressions over classes or two models, by chains on the composed log density."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.files import digest, written_aside
from drl_tf.core import composition, noise, operators
from drl_tf.core.diffusion import per_image
from drl_tf.core.guidance import guided, network_labels
from drl_tf.core.langevin import LogDensity
from drl_tf.core.posterior import Effort, LogProbAt, Observation, Posterior
from drl_tf.core.weights import Weights
from drl_tf.editing import agreement, expressions, pairs, report, two_models
from drl_tf.editing.class_heights import class_heights
from drl_tf.editing.expressions import Atom, Expression
from drl_tf.runs import checkpoint, exported, pictures
from drl_tf.runs.inputs import finite

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.energy_model import EnergyModel

_EFFORT = Effort(num_steps=10, step=0.1)


@dataclasses.dataclass(frozen=True)
class ComposeRequest:
    """Which images `--mode=compose` draws: an expression, and how many images.

    Attributes:
      expression: the value of --expression, such as '3 & !8' (class 3 and not class 8). Its operands are
        classes (3), two models (a, b) or classes of two models (a3, b8). Its operators are & (and), | (or)
        and ! (not), with brackets.
      count: number of images.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.
      output_dir: directory for the files; '': `<workdir>/editing`.
      second: directory of an exported version of model b; '': there is only one model, and the expression is
        over its classes.
    """

    expression: str
    count: int
    weights: Weights = Weights.EMA
    step: int | None = None
    output_dir: str = ''
    second: str = ''


def compose(config: Config, workdir: str, request: ComposeRequest) -> dict[str, str]:
    """Draws images from an expression, such as '3 & !8' over classes or 'a & b' over two models.

    An expression over two models with | (or) needs log Z of both models, which --mode=likelihood
    --method=direct measures.

    Args:
      config: the configuration of the only model or of model a, which was trained with
        --energy=preconditioned. The option `seed` is the seed of the draws.
      workdir: directory of this model's run.
      request: the expression, the number of images, and model b if there are two models.

    Returns:
      Lines to print, {label: text}: the path of a picture, and the path of the file with all images. For
      digits, also the classes that a classifier finds in the images.

    Raises:
      UserError: there is no undamaged checkpoint, or the images are not finite.
    """
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32'), request.step)
    parsed = expressions.parse(request.expression)
    weights, count = request.weights, request.count
    if request.second:
        images = _of_two(model, workdir, parsed, request)
    else:
        heights = class_heights(model, [atom.label for atom in expressions.atoms(parsed)], weights)
        images = drawn(model, parsed, heights, count, weights)
    root = report.root_of(workdir, request.output_dir, name_parts(config, workdir, request, step))
    pictures.save_png(f'{root}.png', pictures.square(images))
    with written_aside(f'{root}.npz', 'wb') as file:
        np.savez(file, images=images)
    shown = agreement.judged(config.data, request.expression, images, f'{root}-classes.json')
    return {**shown, 'grid': f'{root}.png', f'{count:,} images': f'{root}.npz'}


def name_parts(config: Config, workdir: str, request: ComposeRequest, step: int) -> list[str]:
    """Returns the parts of the name of the files that `compose` writes.

    Requests that draw different images have different names. The batch size is not part of the name.

    Args:
      config: the configuration of the only model or of model a.
      workdir: directory of this model's run.
      request: the expression, the number of images and the directory of the files.
      step: training step of this model's checkpoint.
    """
    words = request.expression.replace('&', 'and').replace('|', 'or').replace('!', 'not')
    parts = [f'{step:08d}', request.weights, 'compose', re.sub(r'\W+', '_', words)[:60]]
    if request.second:
        parts += [exported.name_of(request.second), digest(checkpoint.fingerprint(request.second, None))]
    of_model = report.of_model(workdir, request.output_dir, step)
    parts.append(report.options_digest(config, {'expression': request.expression, **of_model}))
    return [*parts, str(request.count), f'seed{config.training.seed}']


def _of_two(model: EnergyModel, workdir: str, expression: Expression, request: ComposeRequest) -> np.ndarray:
    """Draws from an expression over a model and `request.second`; uint8 [count, H, W, C]."""
    second, _ = checkpoint.load_model(request.second, pairs.second_config(request.second, model.config))
    models = (model, second)
    log_z = {}
    if expressions.has_or(expression):
        known = [
            pairs.known_log_z(version) for version in (exported.source(workdir) or workdir, request.second)
        ]
        log_z = two_models.heights(models, known, expressions.atoms(expression))
    density = two_models.log_prob_at(models, expression, log_z, request.weights)
    return draws(model, density, request.count, request.weights, model.config.training.seed)


def drawn(
    model: EnergyModel,
    expression: Expression,
    heights: dict[int, np.ndarray],
    count: int,
    weights: Weights,
    seed: int | None = None,
) -> np.ndarray:
    """Draws images from an expression over the classes of a model.

    Args:
      model: a model that was trained with --energy=preconditioned, on classes.
      expression: the expression as a syntax tree, which the function `expressions.parse` returns.
      heights: {class: log Z at each noise level} for each class in the expression, as the function
        `class_heights` returns it.
      count: number of images.
      weights: 'ema' (averages) or 'raw'.
      seed: 0 to 2^31 - 1; None: the option `seed` of the model's configuration.

    Returns:
      uint8 [count, H, W, C].
    """
    seed = model.config.training.seed if seed is None else seed
    density = _density(model, model.walk, expression, heights, weights)
    return draws(model, density, count, weights, seed)


def draws(model: EnergyModel, log_prob_at: LogProbAt, count: int, weights: Weights, seed: int) -> np.ndarray:
    """Draws images from a log density that the caller gives, with the noise levels and sampler of a model.

    Args:
      model: a model that was trained with --energy=preconditioned.
      log_prob_at: the log density of noisy images, up to a constant for each noise level. It is called as
        log_prob_at(levels)(images): `levels` are the noise levels of B images, int32 [B], from 0 to T, and
        `images` are the noisy images, float32 [B, H, W, C]. The result is float32 [B].
      count: number of images.
      weights: 'ema' (averages) or 'raw': the weights with which `log_prob_at` evaluates the model. The
        sampler reads only the mean and the standard deviation of the training images from this network.
      seed: 0 to 2^31 - 1.

    Returns:
      uint8 [count, H, W, C].

    Raises:
      UserError: the images are not finite.
    """
    walk = model.walk
    root = tf.constant(noise.root(seed, noise.SAMPLING))
    size = min(count, model.config.sampling.sample_batch_size)
    shape = model.config.image_shape

    def part(first: tf.Tensor) -> tf.Tensor:
        nothing = Observation(operators.masked(tf.zeros(shape)), tf.zeros([size, *shape]))
        posterior = Posterior(walk, log_prob_at, model.network_of(weights).std, nothing, _EFFORT, first)
        return posterior.draw(model.prior(size, noise.fold(root, noise.PRIOR), first, walk), root)

    draw = tf.function(part, autograph=False)
    parts = [draw(tf.constant(first)).numpy() for first in range(0, count, size)]
    return pixels.to_uint8(finite(np.concatenate(parts)[:count]))


def _density(
    model: Any, walk: Schedule, expression: Any, heights: dict[int, np.ndarray], weights: Weights
) -> Any:
    """Returns a callable: noise levels, int32 [B] -> log density of the expression at these levels."""

    def at_index(index: tf.Tensor) -> LogDensity:
        angle = per_image(walk.angle, index)

        def of_class(label: int) -> LogDensity:
            labels = tf.fill(tf.shape(index), network_labels(label))
            return model.log_prob_at(angle, weights, guided(labels))

        def of_atom(atom: Atom) -> LogDensity:
            log_prob = of_class(atom.label)
            log_z = per_image(heights[atom.label], index)
            return lambda x: log_prob(x) - log_z

        return composition.composed(expression, of_atom, reference=of_class(-1))

    return at_index
