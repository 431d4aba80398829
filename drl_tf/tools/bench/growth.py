"""Measures how the cost of a training step and of sampling grows with batch, K, T, pixels and channels."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.cli import parsing
from drl_tf.config.config import Config
from drl_tf.distributed import devices
from drl_tf.tools.bench.settings import Settings, with_images
from drl_tf.tools.bench.timing import in_turn, spread
from drl_tf.tools.bench.training import whole_step
from drl_tf.training.optimizers import compiled_model

PICTURE = 'growth.png'
PROGRAMS = ('step', 'sample')


def axes(config: Config) -> dict[str, tuple[int, Callable[[int], Config]]]:
    """Returns the quantities to vary: batch size, K, T, pixels and channels.

    K is the number of chain steps, T the number of noise levels.

    Args:
      config: the configuration to vary.

    Returns:
      {name of a quantity: (its value in `config`, function)}. The function takes another value, and returns
      `config` with this value.
    """

    def with_option(**options: Any) -> Config:
        return config.with_flags(**options)

    return {
        'batch': (
            config.training.batch_size,
            lambda value: with_option(batch_size=value, sample_batch_size=value),
        ),
        'K': (max(1, *config.steps_by_level), lambda value: with_option(mcmc_steps=(value,))),
        'T': (config.diffusion.num_levels, lambda value: with_option(num_levels=value)),
        'pixels': (config.data.image_size, lambda value: with_option(image_size=value)),
        'channels': (config.network.channels, lambda value: with_option(channels=value)),
    }


def slope(values: Sequence[float], seconds: Sequence[float]) -> float:
    """Fits the law seconds = constant * values^p to measurements, and returns the exponent p.

    Args:
      values: values of the quantity that was varied, such as the batch size.
      seconds: the time measured at each value.

    Examples:
      >>> round(slope([1, 2, 4], [3.0, 12.0, 48.0]), 6)
      2.0
    """
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def lines(settings: Settings) -> Iterator[dict[str, Any]]:
    """Times a training step and sampling for several values of each quantity that `axes` returns.

    Args:
      settings: the settings of the benchmarks. At the end, a plot of the results is written to `growth.png`
        in `settings.directory`.

    Yields:
      For a training step ('step') and sampling ('sample') at each value, {'part': 'growth', 'name': ..,
      'seconds': ..}, with a name such as 'step at batch 64'. 'seconds' is a dict with 'median', 'low' and
      'high' (the quartiles) and 'count' (the rounds). Then for 'step' and 'sample' and each quantity,
      {'part': 'growth', 'name': .., 'slope': p}, with a name such as 'step against batch': the time grows
      like the p-th power of the quantity.
    """
    with tempfile.TemporaryDirectory() as directory:
        config = with_images(parsing.configuration_of(settings.base.split()), directory)
    config = config.with_flags(
        precision=devices.resolve_precision(settings.precisions[0]), microbatches=1, steps_per_execution=1
    )
    config = config.replace(sample_batch_size=config.training.batch_size)
    points = {
        (axis, factor * start): change(factor * start)
        for axis, (start, change) in axes(config).items()
        for factor in settings.factors
    }
    functions: dict[tuple[str, int, str], Callable[[], object]] = {}
    made: dict[Config, dict[str, Callable[[], object]]] = {}  # All axes have the base in common.
    for (axis, value), changed in points.items():
        if changed not in made:
            made[changed] = _programs(changed)
        for program, function in made[changed].items():
            functions[axis, value, program] = function
    seconds = in_turn(functions, settings.rounds)
    found = {key: spread(values) for key, values in seconds.items()}
    for (axis, value, program), each in found.items():
        name = f'{program} at {axis} {value}'
        yield {'part': 'growth', 'name': name, 'seconds': dataclasses.asdict(each)}
    slopes = {}
    for axis in axes(config):
        for program in PROGRAMS:
            mine = {value: each.median for (a, value, p), each in found.items() if (a, p) == (axis, program)}
            slopes[axis, program] = slope(list(mine), list(mine.values()))
            name = f'{program} against {axis}'
            yield {'part': 'growth', 'name': name, 'slope': slopes[axis, program]}
    _plot(found, slopes, os.path.join(settings.directory, PICTURE))


def _programs(config: Config) -> dict[str, Callable[[], object]]:
    """Returns the functions to time, {name: function}, on a new model: a training step on noise; sampling."""
    model: Any = compiled_model(config)
    step = whole_step(model)
    count = config.training.batch_size
    images = tf.clip_by_value(tf.random.stateless_normal([count, *config.image_shape], [0, 1]), -1, 1)
    batch = (images, tf.ones([count], tf.int32)) if config.data.num_classes else images
    return {
        'step': lambda: float(step(batch)['loss']),
        'sample': lambda: model.sample(count, [0, 3], most_parts=1)[-1].numpy(),
    }


def _plot(found: dict[tuple[str, int, str], Any], slopes: dict[tuple[str, str], float], path: str) -> None:
    """Draws a panel for each axis: median and quartiles of the seconds over the value, on log scales."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    names = list(dict.fromkeys(axis for axis, _, _ in found))
    figure, panels = pyplot.subplots(1, len(names), figsize=(3 * len(names), 3), sharey=True)
    for axis, panel in zip(names, panels, strict=True):
        for program in PROGRAMS:
            mine = {value: each for (a, value, p), each in found.items() if (a, p) == (axis, program)}
            medians = [each.median for each in mine.values()]
            below = [each.median - each.low for each in mine.values()]
            above = [each.high - each.median for each in mine.values()]
            label = f'{program}, slope {slopes[axis, program]:.2f}'
            panel.errorbar(list(mine), medians, [below, above], marker='o', capsize=3, label=label)
        panel.set(xscale='log', yscale='log', xlabel=axis)
        panel.legend(fontsize='small')
    panels[0].set_ylabel('seconds')
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
