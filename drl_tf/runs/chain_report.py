"""Reports steps, acceptance and displacement of the chains that drew a set of samples, by level.

Each shard stores the numbers of its own images, so that the means over a set do not depend on interruptions.
"""

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
    """Returns the adapted step sizes q of the corrector, one for each level; None if nothing is adapted.

    The chief runs the pilot chains of `pilot.steps`, and the other workers receive its result.

    Args:
      model: the model to sample from.
      weights: 'ema' or 'raw'.
    """
    return workers.told_by_chief(lambda: pilot.as_list(pilot.steps(model, weights)))


def of_images(
    config: Config, q: Sequence[float] | None, infos: Sequence[Info | None]
) -> dict[str, np.ndarray]:
    """Returns the arrays that a shard stores about its chains, beside its images; {} without chains.

    Args:
      config: the configuration to sample with.
      q: result of `corrector_steps`.
      infos: acceptance and displacement of the chains, for each batch of the shard [n, T].
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
    """Adds the mean acceptance and displacement of a complete set of samples to its `samples.json`.

    Does nothing if the samples were drawn without chains.
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
    """Returns what `write` wrote, {'chains': {name: JSON value}}; {} for a set without chains."""
    described = samples.describe(directory)
    return {_KEY: described[_KEY]} if _KEY in described else {}


def mean(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the mean of the results of `read` for several seeds."""
    if not reports[0]:
        return {}
    chains = [report[_KEY] for report in reports]
    numbers = [name for name in ('acceptance', 'displacement') if name in chains[0]]
    means = {name: np.mean([each[name] for each in chains], axis=0).tolist() for name in numbers}
    return {_KEY: {**chains[0], **means}}


def said(report: Mapping[str, Any]) -> dict[str, str]:
    """Formats a report for printing, {label: text}: acceptance and displacement from level 0 up."""
    chains = report.get(_KEY, {})
    lines = {}
    for name in ('acceptance', 'displacement'):
        if name in chains:
            pairs = zip(chains[name], chains['mcmc_steps'], strict=True)
            lines[name] = ' '.join(f'{value:.2g}' if num_steps else '-' for value, num_steps in pairs)
    return lines
