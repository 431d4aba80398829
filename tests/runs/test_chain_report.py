"""What chains did, in the results of sampling and evaluation; and chains through the command line."""

import contextlib
import io
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from helpers import golden
from helpers.tiny import call, sampled, scores, set_options

from drl_tf.core import correctors
from drl_tf.runs import chain_report, samples

CHAINS = ['--mcmc_steps=2', '--num_samples=12']


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A copy of the small run of `preconditioned` in `golden/`: 8 px, 10 classes, 2 levels, no chains."""
    return golden.copied('preconditioned', tmp_path_factory.mktemp('chains') / 'w')


@pytest.fixture(scope='module')
def drawn(run, tmp_path_factory):
    """A directory of images that the chains drew, and what their command printed."""
    from drl_tf.cli.main import main

    directory = tmp_path_factory.mktemp('drawn')
    command = ['run.py', '--mode=sample', f'--workdir={run}', *CHAINS, f'--output_dir={directory}']
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(command) == 0
    return pathlib.Path(out.getvalue().split()[-1]), out.getvalue()


def described(directory):
    return json.loads((directory / 'samples.json').read_text())


def images_of(directory):
    return np.concatenate(list(samples.read(directory, (8, 8, 1)))).astype(int)


def of_images(directory, name):
    """What the chains of each image did, from the one shard of a set."""
    (shard,) = directory.glob('*.npz')
    with np.load(shard) as arrays:
        return arrays[name]


def test_sampling_reports_steps_acceptance_and_displacement(capsys, run, drawn):
    """The log and samples.json report means over the images; the set's name says how it was drawn."""
    directory, out = drawn
    assert re.search(r'-mcmc_steps2-[0-9a-f]+$', directory.name)
    assert 'precision: float32 (sample: float32)' in out
    chains = described(directory)['chains']
    assert chains['corrector'] == 'mala' and chains['mcmc_steps'] == [2, 2]
    assert all(0 < q <= 1 for q in chains['corrector_steps'])
    for name in ('acceptance', 'displacement'):
        assert of_images(directory, name).shape == (12, 2)
        np.testing.assert_allclose(chains[name], of_images(directory, name).mean(0), rtol=1e-6)
        assert f'{name:17} {chains[name][0]:.2g} {chains[name][1]:.2g}\n' in out
    target = correctors.TARGET_ACCEPTANCE['mala']
    assert all(target - 0.2 < each <= 1 for each in chains['acceptance'])
    again = call(capsys, '--mode=sample', f'--workdir={run}', *CHAINS, f'--output_dir={directory.parent}')[1]
    assert 'drawn before' in again and again.splitlines()[-5:] == out.splitlines()[-5:]


def test_images_and_reports_depend_on_neither_batches_nor_interruptions(capsys, run, drawn, tmp_path):
    """The last nine images, in batches of four, are those of the set, and so is what their chains did."""
    directory, _ = drawn
    later, other = sampled(
        capsys, run, '--mode=sample', *CHAINS, '--num_samples=9', '--first_sample=3',
        '--sample_batch_size=4', f'--output_dir={tmp_path}', side=8,
    )  # fmt: skip
    assert np.abs(images_of(directory)[3:] - later).max() <= 1
    for name in ('acceptance', 'displacement'):
        np.testing.assert_allclose(of_images(directory, name)[3:], of_images(other, name), rtol=1e-3)
    for name, mine in described(directory)['chains'].items():
        if name == 'corrector_steps':
            np.testing.assert_allclose(mine, described(other)['chains'][name], rtol=1e-3)
        elif name not in ('acceptance', 'displacement'):
            assert mine == described(other)['chains'][name]


def test_other_chains_are_another_set(capsys, run, drawn, tmp_path):
    sets = {drawn[0].name: images_of(drawn[0])[:2]}
    for chains in (
        ['--mcmc_steps=0'],
        ['--mcmc_steps=2', '--corrector=hmc'],
        ['--mcmc_steps=2', '--corrector=langevin', '--corrector_step=0.3'],
        ['--mcmc_steps=2', '--corrector=langevin'],
    ):
        images, directory = sampled(
            capsys, run, '--mode=sample', '--num_samples=2', *chains, f'--output_dir={tmp_path}', side=8
        )
        sets[directory.name] = images
        report = described(directory).get('chains', {})
        adjusted = chains != ['--mcmc_steps=0'] and '--corrector=langevin' not in chains
        assert ('acceptance' in report) == adjusted
        assert ('displacement' in report) == (chains != ['--mcmc_steps=0'])
        if '--corrector_step=' in chains[-1]:
            q = float(chains[-1].partition('=')[2])
            np.testing.assert_allclose(report['corrector_steps'], [q, q], rtol=1e-6)
    assert len(sets) == 5
    arrays = list(sets.values())
    assert all((one != other).any() for i, one in enumerate(arrays) for other in arrays[:i])


def test_evaluation_reports_them_too(capsys, run):
    chains = ['--num_samples=3', '--num_real=32', '--evaluation_seeds=0,1', '--mcmc_steps=2']
    out, found = scores(capsys, '--mode=evaluate', f'--workdir={run}', *chains)
    assert 'acceptance' in out and 'displacement' in out
    assert (found['corrector'], found['gradients_per_image']) == ('mala', 2 * (1 + 3) + 1)
    single = [
        chain_report.read(str(path.parent))['chains']
        for path in sorted((run / 'samples').glob('*-3-seed[01]-mcmc_steps2/samples.json'))
    ]
    assert len(single) == 2 and single[0]['corrector_steps'] == single[1]['corrector_steps']
    for name in ('acceptance', 'displacement'):
        expected = np.mean([each[name] for each in single], axis=0)
        np.testing.assert_allclose(found['chains'][name], expected)


def test_without_chains_there_is_no_report(capsys, run):
    out, found = scores(capsys, '--mode=evaluate', f'--workdir={run}', '--num_samples=3', '--num_real=32')
    assert 'acceptance' not in out and 'chains' not in found
    assert (found['corrector'], found['gradients_per_image']) == ('none', 3)


def test_a_run_that_goes_on_may_change_its_chains(capsys, run, tmp_path):
    """They take no part in the training of a log density."""
    workdir = shutil.copytree(run, tmp_path / 'w')
    set_options(workdir, mcmc_steps=(1,))
    code, out, err = call(capsys, f'--workdir={workdir}', '--train_steps=5', '--corrector=hmc')
    assert code == 0 and 'resuming at step 4' in out, err
