"""Acceptance and displacement of the chains that drew a set of samples, for each noise level."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base.files import write_json
from drl_tf.core import pilot
from drl_tf.core.correctors import ADJUSTED
from drl_tf.distributed import workers
from drl_tf.runs import samples

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.core.sampling import Info

_KEY = 'chains'


def corrector_steps(model: EnergyModel, weights: str) -> list[float] | None:
    """Returns the relative step size q of the model's chains at each noise level, [T].

    `correctors.step_sizes` turns q into step sizes. All workers must call this. The chief computes q, which
    may take a pilot run, and the other workers receive it.

    Args:
      model: the model to sample from.
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).

    Returns:
      q, for `EnergyModel.sample`; None if there are no chains, or if their steps are those of the schedule.
    """
    return workers.told_by_chief(lambda: pilot.as_list(pilot.steps(model, weights)))


def of_images(
    config: Config, q: Sequence[float] | None, infos: Sequence[Info | None]
) -> dict[str, np.ndarray]:
    """Collects the statistics of Markov chains that are stored in a file with the images they drew.

    Args:
      config: the configuration to sample with.
      q: relative step size of the chains at each of T levels, or None; the result of `corrector_steps`.
      infos: for each batch of n images, an `Info` with acceptance and displacement of the chains, [n, T]; or
        None for a batch drawn without chains.

    Returns:
      Arrays for the N images of all batches: {'displacement': [N, T]}. For MALA and HMC also 'acceptance',
      [N, T]. If `q` is given, also 'corrector_steps', [T]. {} if there were no chains.
    """
    known = [info for info in infos if info is not None]
    if not known:
        return {}
    arrays = {'displacement': np.concatenate([info.displacement for info in known])}
    if config.corrector in ADJUSTED:
        arrays['acceptance'] = np.concatenate([info.acceptance for info in known])
    if q is not None:
        arrays['corrector_steps'] = np.asarray(q, np.float32)
    return arrays


def write(directory: str, model: EnergyModel) -> None:
    """Adds statistics of the Markov chains that drew a set of samples to its `samples.json`.

    The statistics are the means over all images of acceptance probability and displacement, at each noise
    level. Nothing is written if the samples were drawn without chains.

    Args:
      directory: the directory of the set, all of whose files exist.
      model: the model that drew them.
    """
    config = model.config
    if config.corrector == 'none':
        return
    described = samples.describe(directory)
    found: dict[str, list[np.ndarray]] = {}
    for shard in samples.shards(directory, described):
        with np.load(shard.path) as arrays:
            for name in ('corrector_steps', 'acceptance', 'displacement'):
                if name in arrays:
                    found.setdefault(name, []).append(arrays[name].reshape(-1, model.walk.num_levels))
    means = {name: np.concatenate(parts).mean(axis=0, dtype=np.float64) for name, parts in found.items()}
    report = {
        'corrector': config.corrector,
        'mcmc_steps': [config.sampling_steps_by_level[level] for level in model.walk.levels],
        **{name: values.tolist() for name, values in means.items()},
    }
    if described.get(_KEY) != report:
        write_json(os.path.join(directory, samples.DESCRIPTION), {**described, _KEY: report})


def read(directory: str) -> dict[str, Any]:
    """Reads the statistics that `write` stored about the chains that drew a set of samples.

    Args:
      directory: the directory of the set.

    Returns:
      {'chains': statistics}; {} if the set was drawn without chains. The statistics are a dict. 'corrector'
      is the kind of chain, a string. 'mcmc_steps' (number of steps), 'displacement' and, for some kinds,
      'acceptance' and 'corrector_steps' (relative step size) are lists of one number per noise level.
    """
    described = samples.describe(directory)
    return {_KEY: described[_KEY]} if _KEY in described else {}


def mean(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Averages the statistics of chains over several sets of samples, drawn with different seeds.

    Args:
      reports: for each set, the result of `read`.

    Returns:
      A dict of the form that `read` returns. Its 'acceptance' and 'displacement' are means over the sets; the
      other entries are those of the first set. {} if the sets were drawn without chains.
    """
    if not reports[0]:
        return {}
    chains = [report[_KEY] for report in reports]
    numbers = [name for name in ('acceptance', 'displacement') if name in chains[0]]
    means = {name: np.mean([each[name] for each in chains], axis=0).tolist() for name in numbers}
    return {_KEY: {**chains[0], **means}}


def said(report: Mapping[str, Any]) -> dict[str, str]:
    """Formats acceptance and displacement of chains as lines to print, {label: one number per noise level}.

    Args:
      report: the statistics, a result of `read` or `mean`.
    """
    chains = report.get(_KEY, {})
    lines = {}
    for name in ('acceptance', 'displacement'):
        if name in chains:
            pairs = zip(chains[name], chains['mcmc_steps'], strict=True)
            lines[name] = ' '.join(f'{value:.2g}' if num_steps else '-' for value, num_steps in pairs)
    return lines
