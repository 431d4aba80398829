"""Acceptance and displacement of the chains that drew a set of samples, for each noise level."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base.files import write_json
from drl_tf.core import pilot
from drl_tf.core.correctors import ADJUSTED
from drl_tf.core.weights import Weights
from drl_tf.distributed import chief
from drl_tf.runs import samples

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.core.sampling import Info

_KEY = 'chains'


@chief.only
def corrector_steps(model: EnergyModel, weights: Weights) -> list[float] | None:
    """Returns q, the relative step size of the model's Markov chains at each noise level, [T].

    The steps of a chain at level t have the size sqrt(2 q_t / L_t), where L_t is the largest curvature of the
    density that the chain draws from. All workers must call this function: the chief computes q, which may
    take a pilot run, and sends it to the others.

    Args:
      model: the model to sample from.
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).

    Returns:
      q, for `EnergyModel.sample`. None if the model samples without chains, or with Langevin chains whose
      step sizes come from the noise schedule (the option `corrector_step` is 0).
    """
    return pilot.as_list(pilot.steps(model, weights))


def of_images(
    config: Config, q: Sequence[float] | None, infos: Sequence[Info | None]
) -> dict[str, np.ndarray]:
    """Collects statistics of Markov chains, to store them in a file with the images that the chains drew.

    Args:
      config: the configuration to sample with.
      q: relative step size of the chains at each of T noise levels, from `corrector_steps`; or None.
      infos: for each batch of n images, an `Info` with two arrays [n, T]: the acceptance probability of each
        chain, and its displacement (root mean square of last state minus first state, over the pixels). None
        for a batch drawn without chains.

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
      directory: the directory of the set, which must be complete.
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
      {'chains': statistics}; {} if the set was drawn without chains. The statistics are a dict. Its entry
      'corrector' is the kind of chain: 'langevin', 'mala' or 'hmc'. The other entries are lists of one number
      per noise level:

      - 'mcmc_steps': number of steps of a chain.
      - 'displacement': root mean square of a chain's last state minus its first state.
      - 'acceptance': acceptance probability; for 'mala' and 'hmc' only.
      - 'corrector_steps': q in the step size sqrt(2 q / L), where L is the largest curvature of the density.
        It is missing if Langevin chains take their step sizes from the noise schedule.
    """
    described = samples.describe(directory)
    return {_KEY: described[_KEY]} if _KEY in described else {}


def mean(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Averages the statistics of chains over several sets of samples, drawn with different seeds.

    Args:
      reports: for each set, {'chains': statistics} as `read` returns it; {} for a set drawn without chains.

    Returns:
      {'chains': statistics}. Among these, 'acceptance' and 'displacement' are means over the sets; the other
      statistics are those of the first set. {} if the sets were drawn without chains.
    """
    if not reports[0]:
        return {}
    chains = [report[_KEY] for report in reports]
    numbers = [name for name in ('acceptance', 'displacement') if name in chains[0]]
    means = {name: np.mean([each[name] for each in chains], axis=0).tolist() for name in numbers}
    return {_KEY: {**chains[0], **means}}


def said(report: Mapping[str, Any]) -> dict[str, str]:
    """Formats acceptance and displacement of chains as lines to print, {label: text}.

    The label is 'acceptance' or 'displacement'. The text lists one number per noise level, or '-' for a level
    at which the chains take no steps.

    Args:
      report: {'chains': statistics} as `read` or `mean` returns it, or {} for samples drawn without chains,
        for which there are no lines.
    """
    chains = report.get(_KEY, {})
    lines = {}
    for name in ('acceptance', 'displacement'):
        if name in chains:
            pairs = zip(chains[name], chains['mcmc_steps'], strict=True)
            lines[name] = ' '.join(f'{value:.2g}' if num_steps else '-' for value, num_steps in pairs)
    return lines
