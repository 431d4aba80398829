"""Lowered programs: what their files hold, and that JAX's runtime gives the numbers of TensorFlow."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import small_models
from helpers.tiny import ROOT, TINY

from drl_tf.tools import lower, run_lowered
from drl_tf.training.optimizers import compiled_model

# An interpreter with jax; where the tests' own lacks it, the environment may name another.
PYTHON = os.environ.get('PYTHON_WITH_JAX', sys.executable)
SMALL = [*TINY, '--num_levels=2', '--learning_rate=1e-3']


def written(directory, *words):
    """{name of the file: its contents} of a command line of `lower`."""
    assert lower.main([f'--directory={directory}', *words]) == 0
    return {path.name: dict(np.load(path)) for path in sorted(directory.glob('*.npz'))}


def test_weights_are_drawn_alike_with_every_numpy():
    """Values of NumPy's frozen Mersenne Twister."""
    np.testing.assert_allclose(run_lowered.drawn(1, [3], 2.0), [3.2486906, -1.2235128, -1.0563436], rtol=1e-6)
    assert run_lowered.drawn(1, [2, 3], 1.0).dtype == np.float32


def test_initial_values_come_from_their_descriptions():
    stored = lower.InitialValues({'network/b': {'seed': 3, 'std': 0.5}})

    class Variable:
        def __init__(self, name, value):
            self.name = f'{name}:0'
            self.numpy = lambda: value

    different = np.arange(6, dtype=np.float32).reshape(2, 3)
    values = {
        'network/a': different,
        'ema_network/a': different.copy(),
        'adam/iteration': np.int64(0),
        'network/b': run_lowered.drawn(3, [2, 2], 0.5),
    }
    for name, value in values.items():
        described = stored.add(Variable(name, value))
        assert described['name'] == name
        np.testing.assert_array_equal(run_lowered.initial_value(described, stored.stored), value)
    assert list(stored.stored) == ['variable/0']


def test_differences_are_relative_and_not_fooled_by_nan():
    assert run_lowered.difference(np.array([3.0, 4.4]), np.array([3.0, 4.0])) == pytest.approx(0.08)
    assert run_lowered.difference(np.array([np.nan]), np.array([1.0])) == np.inf
    assert run_lowered.tolerance('loss', 'float32') < run_lowered.tolerance('loss', 'tf32')
    assert run_lowered.tolerance('weights of network', 'float32') == 0.05


def test_float32_multiplies_in_full():
    text = 'precision_config = [#stablehlo<precision DEFAULT>, #stablehlo<precision DEFAULT>]'
    assert 'DEFAULT' not in run_lowered.with_full_precision(text)


def test_a_file_holds_program_inputs_variables_and_numbers(tmp_path):
    """The variables of a training step are its updates, and the reference is that of the program."""
    (arrays,) = written(tmp_path, '--program=train', '--precision=float32', '--steps=2', *SMALL).values()
    about = json.loads(str(arrays['description']))
    assert b'tensor<?' not in bytes(arrays['module'])
    assert b'stablehlo.while' in bytes(arrays['module']) and b'mhlo.copy' not in bytes(arrays['module'])
    assert about['outputs'] == ['gradient_norm', 'loss'] and about['reference_steps'] == 2
    assert about['images'] == 8 and about['flops'] > 1e6
    assert sorted(about['updates']) == [[2 + n, n] for n in range(len(about['variables']))]
    assert [arrays[name].shape for names in about['inputs'] for name in names] == [(8, 16, 16, 1)] * 2
    assert (arrays['input/0/0'] != arrays['input/1/0']).any() and arrays['input/0/0'].max() > 0.9
    assert arrays['expected/loss'].shape == (2,) and (arrays['expected/gradient_norm'] > 0).all()
    moved = [np.abs(value).max() for name, value in arrays.items() if name.startswith('expected/moved/')]
    assert len(moved) == 2 * 15 and max(moved) == pytest.approx(2e-3, rel=0.1)  # Adam's first two steps.


@pytest.mark.parametrize('options', [small_models.COOPERATIVE, small_models.PRECONDITIONED])
def test_weights_of_all_networks_are_compared(options):
    """Raw and averaged ones, of the initializer too; whatever the layers inside a network are called."""
    model = compiled_model(options)
    pairs = model.averages
    variables = [weight.value for pair in pairs for network in pair for weight in network.weights]
    found = lower.networks_of(model, [*variables, tf.Variable(0.0)])
    counts = {network.name: len(pair[1].trainable_variables) for pair in pairs for network in pair}
    assert {name: found.count(name) for name in counts} == counts and found[-1] is None


def test_many_weights_are_drawn_instead_of_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(lower, 'MOST_STORED', 0)
    (arrays,) = written(tmp_path, '--program=sample', '--precision=float32', '--steps=0', *SMALL).values()
    about = json.loads(str(arrays['description']))
    drawn = {argument['name'] for argument in about['variables'] if 'std' in argument}
    assert 'ema_network/conv_in/kernel' in drawn and about['updates'] == []
    assert sum(name.startswith('variable/') for name in arrays) < len(about['variables']) / 2
    assert not any(name.startswith('expected') for name in arrays)


@pytest.mark.parametrize(
    ('words', 'part'),
    [
        (['--dataset=digit'], '--dataset=digit '),
        (['--model=none'], '--model=none '),
        (['--model=digits', '--channels=8'], '--model=digits has its own options: drop --channels=8'),
        (['--steps=-1'], '--steps=-1 must be at least 0'),
        (['--precision=float16'], '--precision=float16 '),
    ],
)
def test_wrong_use_is_one_line(words, part, tmp_path, capsys):
    assert lower.main([f'--directory={tmp_path}', *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and part in line and not list(tmp_path.iterdir())


def run(*words):
    """Runs the script by itself, away from this package; returns exit code and lines."""
    script = ROOT / 'drl_tf' / 'tools' / 'run_lowered.py'
    surroundings = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(
        [PYTHON, '-I', script, *map(str, words)],
        env={**surroundings, 'JAX_PLATFORMS': 'cpu'},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@functools.cache
def has_jax():
    return not subprocess.run([PYTHON, '-c', 'import jax'], capture_output=True, check=False).returncode


@pytest.mark.slow
def test_jax_gives_the_numbers_of_tensorflow(tmp_path):
    """Loss, gradient norm and weights after 5 steps, and samples; a number that was changed is noticed.

    cdrl trains with the step of t6 and an initializer. preconditioned trains with a large batch, which has
    constants that TensorFlow and JAX write differently. Its sampler draws points of the plane with a chain.
    """
    if not has_jax():
        pytest.skip(f'{PYTHON} has no jax')
    small = [word for word in SMALL if not word.startswith(('--recipe', '--precision', '--num_classes'))]
    initializer = ['--initializer_channels=8', '--initializer_mult=1', '--initializer_blocks=1']
    initializer.append('--noinitializer_attention')
    cdrl = ['--program=train', '--precision=float32', '--recipe=cdrl', *initializer]
    default = [*small, '--recipe=preconditioned', '--batch_size=128', '--num_levels=4']
    (trained,) = (tmp_path / name for name in written(tmp_path, *small, *cdrl))
    enlarge_gradient_norm(trained)
    written(tmp_path, *default, '--program=train', '--precision=bfloat16')
    chain = ['--mcmc_steps=1', '--corrector_step=0.1']
    points = ['--dataset=toy_checkerboard', '--image_size=1', *chain]
    files = written(tmp_path, *default, '--program=sample', '--precision=float32', *points)
    assert len(files) == 1 + 1 + 1
    results = tmp_path / 'results.jsonl'
    paths = [tmp_path / name for name in files]
    code, lines = run(*paths, '--steps=2', f'--results={results}')
    assert code == 1 and len(lines) == len(results.read_text().splitlines()) == len(paths)
    for path, line in zip(paths, lines, strict=True):
        differences = dict(line['differences'])
        expected = {'loss', 'gradient_norm', 'weights of network'}
        expected = {'images'} if line['program'] == 'sample' else expected
        assert expected <= set(differences), line
        assert line['passed'] == (path != trained), line
        if path == trained:
            found, allowed = differences.pop('gradient_norm')
            assert found == pytest.approx(1 / 3, rel=0.05) and found > allowed
        assert all(found <= allowed for found, allowed in differences.values()), line
        assert line['device'] == 'cpu' and line['flops_per_s'] > 0
        assert line['bytes'] > 0 and line['share_of_peak'] is None


def enlarge_gradient_norm(file):
    """Multiplies the reference of the gradient norm by 1.5."""
    arrays = dict(np.load(file))
    arrays['expected/gradient_norm'] *= 1.5
    np.savez_compressed(file, **arrays)
