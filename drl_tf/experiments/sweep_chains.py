"""Scores a trained model for several numbers of noise levels and chain steps, and kinds of chains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drl_tf.experiments import sweep

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.runs.charts import Panels
    from drl_tf.runs.request import SampleRequest

# Step q of Langevin chains; no pilot run adapts it.
_LANGEVIN_STEP = 0.1

# T, K and corrector of a row of the table.
Row = tuple[int, int, str]


def sweep_chains(
    config: Config,
    workdir: str,
    request: SampleRequest,
    levels: Sequence[int],
    correctors: Sequence[str],
    steps: Sequence[int],
) -> dict[str, str]:
    """Scores samples for every combination of number of noise levels T, chain steps K and kind of chains.

    A pilot run finds the step sizes of MALA and HMC. Langevin chains run with the option corrector_step=0.1.

    Args:
      config: the configuration of a model that can sample at any number of noise levels: one with
        --energy=exact, or one trained with --energy=preconditioned and --levels=continuous.
      workdir: the run's directory.
      request: which images to draw for each combination.
      levels: values of T, the number of noise levels.
      correctors: kinds of chains, 'langevin', 'mala' or 'hmc'.
      steps: values of K, the number of chain steps at each level.

    Returns:
      Paths of the files written, {label: path}.

    Raises:
      UserError: the feature extractor does not fit the images, or there is no undamaged checkpoint.
    """
    config = config.replace(sampling_steps=(), langevin_rule='plain')
    rows = rows_of(levels, correctors, steps)
    variants = {f'T{T}_K{K}_{corrector}': _changes(T, K, corrector) for T, K, corrector in rows}

    def panels(distances: Sequence[float]) -> Panels:
        found = dict(zip(rows, distances, strict=True))
        return {
            corrector: {
                f'T = {T}': {K: found[T, K, corrector if K else 'none'] for K in steps} for T in levels
            }
            for corrector in correctors
        }

    swept = sweep.Swept('chains', 'chains', 'K, steps of the chain at each level', variants, panels)
    return sweep.score_variants(config, workdir, swept, request)


def rows_of(levels: Sequence[int], correctors: Sequence[str], steps: Sequence[int]) -> list[Row]:
    """Returns what `sweep_chains` scores: each combination of the values of the arguments, once.

    Args:
      levels: values of T, the number of noise levels.
      correctors: kinds of chains, such as 'mala'.
      steps: values of K, the number of chain steps at each level.

    Returns:
      Triples (T, K, kind of chains); with K = 0, the kind is 'none'.

    Examples:
      >>> rows_of([3], ['mala', 'hmc'], [0, 10])
      [(3, 0, 'none'), (3, 10, 'mala'), (3, 10, 'hmc')]
    """
    all_rows = (
        (T, K, corrector if K else 'none') for T, K, corrector in itertools.product(levels, steps, correctors)
    )
    return list(dict.fromkeys(all_rows))


def _changes(T: int, K: int, corrector: str) -> dict[str, Any]:
    """Returns the options that give T, K and the corrector of a row, {option: value}."""
    q = _LANGEVIN_STEP if corrector == 'langevin' else 0.0
    chain = {'mcmc_steps': (K,), 'corrector': corrector, 'corrector_step': q}
    return {'num_levels': T, 'sampling_levels': 0, **chain}
