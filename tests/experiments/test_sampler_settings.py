"""Which samplers a search tries."""

import pytest

from drl_tf.config import tuned
from drl_tf.config.config import Config
from drl_tf.experiments import sampler_settings
from drl_tf.experiments.sampler_settings import key, neighbours, start

LOG_DENSITIES = Config().replace(
    recipe='preconditioned', energy='preconditioned', objective='score_matching', levels='continuous',
    proposal='tweedie', mcmc_steps=(0,), act='swish', final_act='swish', spectral_norm=False,
)  # fmt: skip


def changes(config, setting, found):
    """What each of the found settings changes of a setting, {option: value}."""
    del config
    return [{name: value for name, value in each.items() if value != setting[name]} for each in found]


def after(config, **values):
    return tuned.options_of(config.replace(**values))


def test_a_search_starts_with_the_runs_own_sampler():
    for config in (Config(), LOG_DENSITIES, Config().replace(mcmc_steps=(15,), initializer=True)):
        assert start(config)[0] == tuned.options_of(config)


def test_equal_samplers_have_equal_options():
    once = tuned.options_of(Config().replace(mcmc_steps=(30,)))
    assert once == tuned.options_of(Config().replace(mcmc_steps=(30,) * 6, corrector='langevin'))
    found = [key(setting) for config in (Config(), LOG_DENSITIES) for setting in start(config)]
    assert len(set(found)) == len(found)


def test_chains_of_the_paper_start_with_fewer_larger_steps_by_both_rules():
    own, *grid = start(Config().replace(mcmc_steps=(15,)))
    assert own['sampling_steps'] == ()
    assert [(each['sampling_steps'], each['langevin_rule']) for each in grid] == [
        ((1,), 'plain'),  # Whose only step is plain by both rules.
        *(((steps,), rule) for steps in (2, 3, 5, 8, 10) for rule in ('plain', 'ab2')),
    ]


def test_log_densities_start_with_numbers_of_levels_and_chains():
    _, *grid = start(LOG_DENSITIES)
    found = [(each['num_levels'], each['mcmc_steps'], each['corrector']) for each in grid]
    assert found == [
        *((T, (0,), 'none') for T in (2, 3, 12, 24)),
        *((T, (steps,), 'langevin') for T in (2, 3, 6) for steps in (3, 10)),
    ]


def test_energies_of_single_levels_start_with_fewer_levels():
    config = Config().replace(schedule='t1k', num_levels=100, mcmc_steps=(0,))
    assert [each['sampling_levels'] for each in start(config)] == [0, 6, 8, 12, 16, 24, 32, 48, 64, 96]


def test_moves_of_chains_of_the_paper():
    setting = after(Config(), sampling_steps=(5, 5, 5, 5, 5, 2))
    found = changes(Config(), setting, neighbours(Config(), setting))
    assert found[:4] == [
        {'langevin_rule': 'ab2'},
        {'sampling_steps': (3, 3, 3, 3, 3, 1)},
        {'sampling_steps': (8, 8, 8, 8, 8, 3)},
        {'noise_scale': 0.98},
    ]
    assert found[-12:-10] == [{'sampling_steps': (3, 5, 5, 5, 5, 2)}, {'sampling_steps': (5, 5, 5, 5, 5, 3)}]
    assert len(found) == 3 + 12 + 2 + 2 + 1
    assert {'noise_scale': 1.0} in found and {'step_scale': 0.9} in found and {'proposal': 'tweedie'} in found


def test_the_initializer_proposes_always():
    config = Config().replace(mcmc_steps=(15,), initializer=True)
    found = neighbours(config, start(config)[1])
    assert {each['proposal'] for each in found} == {'x_next'}


def test_as_many_steps_as_in_training_are_the_plain_rule():
    setting = after(Config(), sampling_steps=(20,), langevin_rule='ab2')
    found = changes(Config(), setting, neighbours(Config(), setting))
    assert {'sampling_steps': (), 'langevin_rule': 'plain'} in found


def test_levels_whose_chains_move_least_lose_steps_first():
    setting = after(Config(), sampling_steps=(5,))
    found = neighbours(Config(), setting, moved=[0.3, 0.1, 0.2, 0.6, 0.5, 0.4])
    steps = [each['sampling_steps'] for each in found if len(each['sampling_steps']) == 6]
    assert steps[:4] == [(5, 3, 5, 5, 5, 5), (5, 5, 5, 8, 5, 5), (5, 5, 3, 5, 5, 5), (5, 5, 5, 5, 8, 5)]


def test_moves_of_log_densities():
    setting = tuned.options_of(LOG_DENSITIES)
    found = changes(LOG_DENSITIES, setting, neighbours(LOG_DENSITIES, setting))
    assert found[:3] == [
        {'num_levels': 4},
        {'num_levels': 8},
        {'mcmc_steps': (1,), 'corrector': 'langevin', 'corrector_step': 0.1},
    ]
    assert {'mcmc_steps': (1, 0, 0, 0, 0, 0), 'corrector': 'langevin', 'corrector_step': 0.1} in found
    assert not any(change.get('proposal') == 'x_next' for change in found)  # Has no chains.


def test_the_ends_of_the_levels_move_within_those_of_training():
    config = LOG_DENSITIES.replace(schedule='karras', sigma_min=0.03, sigma_max=9.0)
    ends = ('sigma_min', 'sigma_max')
    grid = [tuple(each[name] for name in ends) for each in start(config)]
    assert grid.count((0.1, 6.0)) == 9 and set(grid) == {(0.03, 9.0), (0.1, 6.0)}
    setting = after(config, sigma_min=0.05)
    found = changes(config, setting, neighbours(config, setting))
    assert found[:3] == [{'sigma_min': 0.03}, {'sigma_min': 0.1}, {'sigma_max': 8.0}]
    narrow = config.replace(sigma_min=0.2, sigma_max=2.0)
    assert {each['sigma_min'] for each in start(narrow)} == {0.2}
    own = tuned.options_of(narrow)
    assert changes(narrow, own, neighbours(narrow, own))[0] == {'sigma_min': 0.3}


def test_chains_of_log_densities_change_corrector_and_step():
    setting = after(LOG_DENSITIES, mcmc_steps=(1,), corrector='langevin', corrector_step=0.1)
    found = changes(LOG_DENSITIES, setting, neighbours(LOG_DENSITIES, setting))
    for change in (
        {'corrector': 'mala', 'corrector_step': 0.0},
        {'corrector': 'hmc', 'corrector_step': 0.0},
        {'corrector_step': 0.05},
        {'corrector_step': 0.2},
        {'proposal': 'x_next'},
        {'mcmc_steps': (0,), 'corrector': 'none', 'corrector_step': 0.0},
    ):
        assert change in found, change


def test_chains_keep_their_place_on_another_number_of_levels():
    setting = after(LOG_DENSITIES, num_levels=4, mcmc_steps=(0, 0, 3, 5), corrector='mala')
    found = changes(LOG_DENSITIES, setting, neighbours(LOG_DENSITIES, setting))
    assert {'num_levels': 3, 'mcmc_steps': (0, 0, 3)} in found
    assert {'num_levels': 6, 'mcmc_steps': (0, 0, 0, 3, 3, 5)} in found


@pytest.mark.parametrize('config', [Config(), LOG_DENSITIES, LOG_DENSITIES.replace(schedule='karras')])
def test_every_neighbour_can_be_sampled(config):
    """It is a configuration that is not refused, with all of its options."""
    for setting in start(config):
        for each in neighbours(config, setting):
            assert tuned.options_of(config.replace(**each)) == each
            assert sampler_settings.key(each) != sampler_settings.key(setting)
