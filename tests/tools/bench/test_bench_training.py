"""A training step in parts: each part is what its name says; their ratios are plausible."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import forks
from helpers.tiny import TINY

from drl_tf.cli import parsing
from drl_tf.tools.bench import __main__ as bench
from drl_tf.tools.bench import training
from drl_tf.tools.bench.settings import Settings
from drl_tf.tools.bench.timing import spread

SMALL = [*TINY, '--max_loss=1000', '--num_levels=2']


@pytest.fixture(scope='module')
def subject(tmp_path_factory):
    config = parsing.configuration_of([*SMALL, '--mcmc_steps=20'])
    return training.Subject('small', config, str(tmp_path_factory.mktemp('small')))


def test_the_chain_is_left_out(subject):
    """Where chains end where they start, nothing moves; otherwise it does."""
    displacement = subject.model.level_means['displacement']

    def moved(step):
        for variable in displacement.variables:
            variable.assign(np.zeros(variable.shape))
        step(subject.batch)
        return float(np.sum(displacement.variables[0]))

    assert moved(subject.without_chain) == 0 < moved(subject.step)
    assert subject.model.chain.__name__ != 'stay'


def test_losses_and_gradients_are_given(subject):
    kernel = subject.model.network.trainable_variables[0]
    before = kernel.numpy()
    steps = subject.model.step
    assert float(subject.update(subject.batch)['loss']) == 0
    assert subject.model.step == steps + 1 and (kernel.numpy() != before).any()


def test_fit_takes_a_step(subject):
    steps = subject.model.step
    subject.fit.step()
    assert subject.model.step == steps + 1


def test_parts_are_differences_within_a_round(subject):
    """Chain, pass and update make up the step, and host is what `fit` adds."""
    seconds = {name: np.full(3, 0.25) for name in subject.functions()}
    seconds['step'] = np.array([10.0, 20.0, 12.0])
    seconds['without chain'] = np.array([4.0, 8.0, 5.0])
    seconds['update'] = np.array([1.0, 2.0, 1.0])
    seconds['fit'] = np.array([10.5, 21.0, 12.5])
    line = subject.line(seconds)
    assert subject.gradients == line['K'] == 20
    assert line['chain_convolutions'] == {'forward': 3, 'input gradient': 3, 'filter gradient': 0}
    assert line['pass_convolutions'] == {'forward': 3, 'input gradient': 2, 'filter gradient': 3}
    assert [line[name]['median'] for name in ('chain', 'pass', 'update', 'host')] == [7, 4, 1, 0.5]
    assert line['rest_share']['median'] == pytest.approx(3.25 / 21.25)
    assert line['chain_utilisation']['median'] == pytest.approx(0.25 / 7)
    assert line['chain_flops_per_s'] == pytest.approx(line['chain_alone_flops_per_s'] * 0.25 / 7)


def test_precisions_are_compared_within_a_round(monkeypatch):
    class Subject:
        def __init__(self, name, config, workdir):
            self.name, self.precision = name, config.training.precision

        def functions(self):
            return {'step': None}

        def line(self, seconds):
            return {'part': 'training', 'name': self.name, 'step': seconds['step'].tolist()}

    seconds = {'float32': [2.0, 4.0, 8.0], 'bfloat16': [1.0, 1.0, 6.0]}

    def in_turn(functions, rounds):
        return {(name, part): np.array(seconds[name.rpartition(' ')[2]]) for name, part in functions}

    monkeypatch.setattr(training, 'Subject', Subject)
    monkeypatch.setattr(training, 'in_turn', in_turn)
    preset = ' '.join(SMALL)
    *lines, last = training.lines(Settings((preset,), preset, tuple(seconds), 3, 1, 4, (1,), ''))
    assert [(line['name'], line['step']) for line in lines] == [
        (f'{preset}, {name}', values) for name, values in seconds.items()
    ]
    ratios = dataclasses.asdict(spread(np.array([0.5, 0.25, 0.75])))
    assert last == {'part': 'precision', 'name': preset, 'bfloat16_of_float32': ratios}


@pytest.mark.slow
def test_small_form(tmp_path, capsys):
    """Without chains in bfloat16, and with chains and split batches: ratios are plausible."""
    options = ' '.join(SMALL).replace('--recipe=t6', '').replace('--precision=float32', '')
    presets = {
        'preconditioned': f'{options} --recipe=preconditioned --mcmc_steps=0',
        't6': f'{options} --recipe=t6 --mcmc_steps=20',
    }
    names = [f'{presets["preconditioned"]}, bfloat16', f'{presets["t6"]}, float32']
    preconditioned, t6 = (f'--preset={words}' for words in presets.values())
    command = ['training', '--rounds=5', f'--directory={tmp_path}']
    assert bench.main([*command, preconditioned, '--precisions=bfloat16']) == 0
    assert capsys.readouterr().out.count('| training | ') == 1
    done = forks.run('-m', 'drl_tf.tools.bench', *command, t6, '--precisions=float32', '--cpu_split')
    assert done.returncode == 0, done.stderr
    machine, *lines = [json.loads(line) for line in (tmp_path / 'bench.jsonl').read_text().splitlines()]
    assert machine['part'] == 'machine' and machine['cores'] >= 1
    measured = {line['name']: line for line in lines if line['part'] == 'training'}
    assert 'precision' not in [line['part'] for line in lines] and [*measured] == names
    for recipe, line in zip(presets, measured.values(), strict=True):
        spreads = {name: value for name, value in line.items() if isinstance(value, dict)}
        median = {name: value['median'] for name, value in spreads.items() if 'median' in value}
        assert ('chain' in median) == (recipe == 't6')
        assert 0 < median['update'] < median['step'] and median['input'] > 0
        assert 0.02 < median['pass_utilisation'] < 50 and line['images_per_s'] > 0
        if recipe == 't6':  # 20 gradients of the energy against the one of the loss.
            assert median['chain'] > median['pass'] and 0.02 < median['chain_utilisation'] < 20
