"""Which chains follow from the options, what is refused, and how many gradients a dry run counts."""

import json

import pytest
from helpers.tiny import TINY, call, refused

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.config import chains

PRECONDITIONED = ['--dataset=digits', '--recipe=preconditioned']


def test_exact_energies_know_all_noise():
    """Learnt energies know that of training."""
    exact, learnt = (
        parsing.configuration_of([*PRECONDITIONED, f'--energy={energy}'])
        for energy in ('exact', 'preconditioned')
    )
    for trained in (exact, learnt):
        chains.check_range(trained.replace(sigma_min=0.1, sigma_max=12.8), trained)
    chains.check_range(exact.replace(sigma_max=13.0), exact)
    with pytest.raises(UserError, match=r'--sigma_max=13 .* from 0\.0074 to 12\.8'):
        chains.check_range(learnt.replace(sigma_max=13.0), learnt)


@pytest.mark.parametrize(
    ('options', 'corrector'),
    [
        (PRECONDITIONED, 'none'),
        ([*PRECONDITIONED, '--mcmc_steps=5'], 'mala'),
        ([*PRECONDITIONED, '--mcmc_steps=5', '--corrector=hmc'], 'hmc'),
        ([*PRECONDITIONED, '--mcmc_steps=30', '--proposal=x_next'], 'langevin'),
        (['--dataset=digits', '--recipe=t6'], 'langevin'),
        (['--dataset=digits', '--recipe=t6', '--corrector=mala'], 'mala'),
        (['--dataset=digits', '--recipe=cdrl'], 'langevin'),
        (['--dataset=digits', '--recipe=t1k'], 'none'),
    ],
)
def test_the_default_follows_from_energy_and_steps(options, corrector):
    assert parsing.configuration_of(options).corrector == corrector


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--corrector=gibbs'], ['--corrector=gibbs', 'langevin, mala, hmc']),
        (['--corrector=mala'], ['--corrector=mala', '--mcmc_steps']),
        (['--corrector=langevin'], ['--corrector=langevin', '--mcmc_steps']),
        (['--corrector=none', '--mcmc_steps=3'], ['--corrector=none', '--mcmc_steps=3']),
        (['--corrector_step=0.1'], ['--corrector_step=0.1', '--mcmc_steps=0']),
        (['--mcmc_steps=3', '--corrector_step=3'], ['--corrector_step=3.0', 'at most 2']),
        (['--mcmc_steps=3', '--corrector_step=-1'], ['--corrector_step=-1.0', 'at least 0']),
        (['--mcmc_steps=3', '--step_scale=0.5'], ['--step_scale=0.5', '--corrector_step']),
        (
            ['--mcmc_steps=3', '--corrector=langevin', '--corrector_step=0.1', '--step_scale=2'],
            ['--step_scale=2', '--corrector_step'],
        ),
        (['--mcmc_steps=3', '--noise_scale=0'], ['--noise_scale=0', '--corrector=mala']),
        (['--mcmc_steps=3', '--norm=batch'], ['--corrector=mala', '--norm=batch']),
        (['--recipe=t1k', '--corrector=hmc'], ['--corrector=hmc', '--mcmc_steps=0']),
        (['--mode=long_run', '--workdir=w', '--corrector=hmc'], ['--corrector is for']),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(capsys, options, words):
    line = refused(capsys, *PRECONDITIONED, '--dry_run', *options)
    assert all(word in line for word in words), line


def gradients(capsys, *options):
    code, out, err = call(capsys, '--dry_run=json', *TINY, *options)
    assert code == 0, err
    cost = json.loads(out)['cost']
    return cost['gradients to sample an image'], cost['FLOPs to sample an image'], cost


@pytest.mark.parametrize(
    ('chains', 'expected'),
    [
        (['--mcmc_steps=0'], 3 + 1),
        (['--mcmc_steps=5'], 3 * (1 + 6) + 1),
        (['--mcmc_steps=5', '--corrector=langevin'], 3 * (1 + 5) + 1),
        (['--mcmc_steps=5', '--corrector=hmc'], 3 * (1 + 16) + 1),
        (['--mcmc_steps=0,5,2'], 1 + (1 + 6) + (1 + 3) + 1),
        (['--mcmc_steps=0,5,2', '--sampling_levels=1'], 1 + 1),
    ],
)
def test_a_dry_run_counts_the_gradients_of_proposals_and_chains(capsys, chains, expected):
    """The count includes the gradient of --final_denoise. FLOPs are those of as many Langevin steps."""
    found, flops, cost = gradients(capsys, '--recipe=preconditioned', '--num_levels=3', *chains)
    assert found == expected
    assert flops == expected * cost['FLOPs of one Langevin step of an image']


def test_chains_of_the_paper_cost_what_they_cost(capsys):
    found, flops, cost = gradients(capsys, '--mcmc_steps=5')
    assert found == 6 * 5 and flops == 30 * cost['FLOPs of one Langevin step of an image']
    training = cost['FLOPs of a training step, per image']
    adjusted, _, cost = gradients(capsys, '--mcmc_steps=5', '--corrector=mala')
    assert adjusted == 6 * 6 and cost['FLOPs of a training step, per image'] == training
