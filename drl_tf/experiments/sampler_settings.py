"""The samplers that --mode=tune_sampler tries: where the search starts, and which samplers are neighbours.

A setting is {option: value} for each of `config.tuned.OPTIONS`. There are three kinds of models:

- Log densities (--energy=preconditioned or exact): T, the lowest and the highest noise level (with
  --schedule=karras), K, corrector, its step, proposal and noise scale.
- Energies of Langevin chains with steps delta_t (t6, cdrl): K at the same total time, the rule of a step,
  the factor of its size, proposal and noise scale. T is that of training, because the energy of a level
  depends on the noise up to the next.
- Others (t1k): T and noise scale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from drl_tf.base.errors import UserError
from drl_tf.config import chains
from drl_tf.config.tuned import options_of

if TYPE_CHECKING:
    from drl_tf.config.config import Config

Setting: TypeAlias = dict[str, Any]
LEVELS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)  # T.
STEPS = (0, 1, 2, 3, 5, 8, 10, 15, 20, 30)  # K.
# Values of the numbers that a move raises or lowers by one place.
RUNGS = {
    'noise_scale': (0.9, 0.95, 0.97, 0.98, 0.99, 1.0),
    'corrector_step': (0.02, 0.05, 0.1, 0.2, 0.4),
    'step_scale': (0.7, 0.8, 0.9, 1.0, 1.1, 1.2),
    'sigma_min': (0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    'sigma_max': (3.0, 4.0, 5.0, 6.0, 8.0, 10.0),
}
_CHAINS = {'corrector': 'langevin', 'corrector_step': 0.1}  # Where chains of log densities begin.
_NO_CHAINS = {'mcmc_steps': (0,), 'corrector': 'none', 'corrector_step': 0.0}
_FEW_LEVELS, _MORE_LEVELS = (2, 3, 6), (12, 24)
_INNER_ENDS = {'sigma_min': 0.1, 'sigma_max': 6.0}  # Few levels are better placed between these.
_INNER_LEVELS = (2, 3, 4)
_START_STEPS = (3, 10)


def key(setting: Setting) -> str:
    """Returns a text that is the same for equal settings of a sampler; tuples and lists count as equal.

    Examples:
      >>> key({'mcmc_steps': (3, 1)}) == key({'mcmc_steps': [3, 1]})
      True
    """
    return json.dumps(setting, sort_keys=True)


def start(config: Config) -> list[Setting]:
    """Returns the settings with which a search for a sampler starts: first the run's own, then a coarse grid.

    A setting is {option of the sampler: value}. For log densities, the grid varies the number of noise
    levels, where they begin and end, and the number of chain steps; for t6 and cdrl, the number and the rule
    of Langevin steps; for t1k, the number of noise levels.

    Args:
      config: the configuration of the run.

    Examples:
      For t6, first its own sampler, then 1 and 2 Langevin steps at each level:
      >>> from drl_tf.config.config import Config
      >>> [(each['sampling_steps'], each['langevin_rule']) for each in start(Config())][:4]
      [((), 'plain'), ((1,), 'plain'), ((2,), 'plain'), ((2,), 'ab2')]
    """
    T = config.diffusion.num_levels
    if _in_larger_steps(config):
        most = max(config.steps_by_level)
        changes = [
            _larger(config, [steps] * T, rule)
            for steps in STEPS
            if 0 < steps < most
            for rule in ('plain', 'ab2')
        ]
    elif config.network.energy == 'paper':
        changes = [{'sampling_levels': count} for count in LEVELS if 6 <= count < T]
    else:
        few = [_on_levels(config, count) for count in _FEW_LEVELS]
        if _has_inner_ends(config):
            few += [{**_on_levels(config, count), **_INNER_ENDS} for count in _INNER_LEVELS]
        more = [_on_levels(config, count) for count in _MORE_LEVELS]
        changes = [{**levels, **_NO_CHAINS} for levels in (*few, *more)]
        changes += [{**levels, **_CHAINS, 'mcmc_steps': (steps,)} for levels in few for steps in _START_STEPS]
    return _valid(config, [{}, *changes])


def neighbours(config: Config, setting: Setting, moved: Sequence[float] | None = None) -> list[Setting]:
    """Returns settings of similar samplers, each with one change.

    A change moves one option to another value, together with the options that depend on it. K, the number of
    chain steps, can change at all noise levels or at a single one. Changes at a single level come last in the
    list. They lower K first at the levels where chains move least, and raise it first where chains move most.

    Args:
      config: the configuration of the run.
      setting: the setting to change, {option of the sampler: value}.
      moved: distance that the chains of `setting` move at each noise level, divided by the standard deviation
        of the noise of the level, float [T]. None: not known; K is then lowered first at the lowest level,
        and raised first at the highest.

    Returns:
      Settings like `setting`, each once. Those that the configuration refuses are left out.
    """
    here = config.replace(**setting)
    changes: Iterable[Setting]
    if _in_larger_steps(here):
        changes = _of_larger_steps(here, moved)
    elif here.network.energy == 'paper':
        changes = [*_levels_beside(here), *_beside(here, 'noise_scale')]
    else:
        changes = [*_ends_beside(here, config), *_of_log_densities(here, moved)]
    return [other for other in _valid(here, changes) if key(other) != key(setting)]


def _of_larger_steps(config: Config, moved: Sequence[float] | None) -> Iterable[Setting]:
    """Yields the moves of Langevin chains with steps delta_t, {option that changes: value}."""
    rule = config.sampling.langevin_rule
    steps = config.sampling_steps_by_level
    yield {'langevin_rule': 'plain' if rule == 'ab2' else 'ab2'}
    yield from (_larger(config, each, rule) for each in _all_beside(steps))
    yield from _beside(config, 'noise_scale')
    yield from _beside(config, 'step_scale')
    yield from _other_proposal(config)
    yield from (_larger(config, each, rule) for each in _single_beside(steps, moved))


def _larger(config: Config, steps: Sequence[int], rule: str) -> Setting:
    """Returns the options for K' = `steps`, at most K of training, by a rule; () where none is fewer."""
    trained = config.steps_by_level
    few = tuple(min(mine, most) for mine, most in zip(steps, trained, strict=True))
    if few == tuple(trained):
        return {'sampling_steps': (), 'langevin_rule': 'plain'}
    return {'sampling_steps': few, 'langevin_rule': rule}


def _of_log_densities(config: Config, moved: Sequence[float] | None) -> Iterable[Setting]:
    """Yields the moves of log densities, {option that changes: value}."""
    corrector = config.corrector
    steps = config.steps_by_level

    def chains_of(steps: tuple[int, ...]) -> Setting:
        begins = _CHAINS if corrector == 'none' else {}
        return {**begins, 'mcmc_steps': steps} if any(steps) else _NO_CHAINS

    yield from _levels_beside(config)
    yield from map(chains_of, _all_beside(steps))
    yield from _beside(config, 'noise_scale')
    yield from _other_proposal(config)
    if corrector == 'langevin':
        yield from _beside(config, 'corrector_step')
    if corrector != 'none':
        for other in ('langevin', 'mala', 'hmc'):
            if other != corrector:
                yield _CHAINS if other == 'langevin' else {'corrector': other, 'corrector_step': 0.0}
    yield from map(chains_of, _single_beside(steps, moved))


def _has_free_ends(config: Config) -> bool:
    """Returns whether sampling may begin and end at other noise levels than training."""
    return 'sigma_min' in chains.levels_of(config) and chains.has_any_level(config)


def _has_inner_ends(config: Config) -> bool:
    """Returns whether sampling may have the ends `_INNER_ENDS`: they lie within those of training."""
    trained = config.diffusion
    within = trained.sigma_min < _INNER_ENDS['sigma_min'] and _INNER_ENDS['sigma_max'] < trained.sigma_max
    return _has_free_ends(config) and within


def _ends_beside(config: Config, trained: Config) -> list[Setting]:
    """Returns the options for ends beside those of a configuration, within those of training."""
    if not _has_free_ends(config):
        return []
    low, high = trained.diffusion.sigma_min, trained.diffusion.sigma_max
    found = []
    for name, end in (('sigma_min', low), ('sigma_max', high)):
        places = [end, *(place for place in RUNGS[name] if low < place < high)]
        found += [{name: place} for place in _places_beside(places, getattr(config.diffusion, name))]
    return found


def _levels_beside(config: Config) -> list[Setting]:
    """Returns the options for the numbers of levels below and above that of a configuration."""
    T = config.sampling.sampling_levels or config.diffusion.num_levels
    return [_on_levels(config, count) for count in _places_beside(LEVELS, T)]


def _on_levels(config: Config, count: int) -> Setting:
    """Returns the options for `count` levels; each has K of the old level at the same share of the walk."""
    if not chains.has_any_level(config):
        return {'sampling_levels': count}
    steps = config.steps_by_level
    T = len(steps)
    return {
        'num_levels': count,
        'sampling_levels': 0,
        'mcmc_steps': tuple(steps[level * T // count] for level in range(count)),
    }


def _all_beside(steps: Sequence[int]) -> list[tuple[int, ...]]:
    """Returns numbers of steps K that are one place lower, or higher, at all levels."""
    return [tuple(_place(STEPS, K, by) for K in steps) for by in (-1, 1)]


def _single_beside(steps: Sequence[int], moved: Sequence[float] | None) -> Iterable[tuple[int, ...]]:
    """Yields numbers of steps K that are one place lower, or higher, at one level; see `neighbours`."""
    lower, higher = _all_beside(steps)
    order = sorted(range(len(steps)), key=lambda level: moved[level] if moved else level)
    for fewer, more in zip(order, reversed(order), strict=True):
        yield (*steps[:fewer], lower[fewer], *steps[fewer + 1 :])
        yield (*steps[:more], higher[more], *steps[more + 1 :])


def _beside(config: Config, name: str) -> list[Setting]:
    """Returns the options for the places below and above the value of a number of the sampling."""
    return [{name: value} for value in _places_beside(RUNGS[name], getattr(config.sampling, name))]


def _other_proposal(config: Config) -> list[Setting]:
    """Returns the other start of the chains; none if a second network proposes it."""
    if config.diffusion.initializer:
        return []
    return [{'proposal': 'x_next' if config.diffusion.proposal == 'tweedie' else 'tweedie'}]


def _places_beside(places: Sequence[Any], value: Any) -> list[Any]:
    """Returns the next place below a value and the next above it, where there are such."""
    return [other for by in (-1, 1) if (other := _place(places, value, by)) != value]


def _place(places: Sequence[Any], value: Any, by: int) -> Any:
    """Returns the next place below (-1) or above (1) a value; the value itself if there is none."""
    if by < 0:
        return max((place for place in places if place < value), default=value)
    return min((place for place in places if place > value), default=value)


def _in_larger_steps(config: Config) -> bool:
    """Returns whether all levels have Langevin chains with steps delta_t, of which fewer can be larger."""
    return config.corrector == 'langevin' and not chains.has_units(config) and all(config.steps_by_level)


def _valid(config: Config, changes: Iterable[Mapping[str, Any]]) -> list[Setting]:
    """Returns the settings that changes of a configuration give, each once; drops those that are refused."""
    found: dict[str, Setting] = {}
    for change in changes:
        try:
            setting = options_of(config.replace(**change))
        except UserError:
            continue
        found.setdefault(key(setting), setting)
    return list(found.values())
