"""Exported models in place of runs: --model by name and directory, --init_from, damage."""

import json
import shutil

import numpy as np
import pytest
from helpers import golden
from helpers.serving import export_only
from helpers.tiny import call, refused

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.cli.main import main
from drl_tf.config import config as configuration
from drl_tf.runs import checkpoint, exported, samples


@pytest.fixture
def shipped(small_export, tmp_path, monkeypatch):
    """A package that the small model comes with, as `digits`; where commands are run."""
    shutil.copytree(small_export, tmp_path / 'package' / 'saved_models' / 'digits' / '1')
    monkeypatch.setattr(exported, 'shipped_models', lambda: tmp_path / 'package' / 'saved_models')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """The images that the small run samples."""
    run = golden.copied('cdrl', tmp_path_factory.mktemp('run') / 'cdrl')
    assert main(['run.py', '--mode=sample', '--num_samples=7', f'--workdir={run}']) == 0
    (directory,) = (path for path in (run / 'samples').glob('*-7-*') if path.is_dir())
    images = np.concatenate(list(samples.read(directory, (8, 8, 1)))).astype(int)
    assert np.ptp(images) > 0
    return images


def sampled(capsys, *arguments):
    """The images of `--mode=sample`."""
    code, out, err = call(capsys, '--mode=sample', '--num_samples=7', *arguments)
    assert code == 0, err
    return np.concatenate(list(samples.read(out.split()[-1], (8, 8, 1)))).astype(int)


@pytest.mark.slow
def test_a_model_that_is_named_samples_what_its_run_samples(capsys, shipped, expected):
    for arguments in (
        ['--model=digits'],
        ['--workdir=runs/model_digits'],
        ['--model=package/saved_models/digits', '--workdir=w'],
    ):
        assert np.abs(sampled(capsys, *arguments) - expected).max() <= 1
    assert (
        np.abs(
            sampled(capsys, '--model=digits', '--labels=3', '--guidance=1', '--mcmc_steps=4') - expected
        ).max()
        > 1
    )
    assert (shipped / 'runs' / 'model_digits' / 'samples').is_dir()
    assert json.loads((shipped / 'w' / 'model.json').read_text())['model'] == str(
        shipped / 'package' / 'saved_models' / 'digits' / '1'
    )
    flags = f'--flagfile={shipped}/package/saved_models/digits/1/train.flags'
    assert '--init_from' in refused(capsys, flags, '--workdir=runs/model_digits')
    # The model is gone, or elsewhere.
    (shipped / 'package').rename(shipped / 'elsewhere')
    assert '--model' in refused(capsys, '--mode=sample', '--workdir=runs/model_digits')
    assert len(sampled(capsys, '--model=elsewhere/saved_models/digits')) == 7


def test_the_newest_version_is_taken(shipped):
    versions = shipped / 'package' / 'saved_models' / 'digits'
    for other in ('9', '10', 'writing', '11.old'):
        shutil.copytree(versions / '1', versions / other)
    assert exported.find('digits') == str(versions / '10')
    assert exported.find(str(versions / '9')) == str(versions / '9')
    assert exported.names() == ['digits']


def test_a_directory_with_the_name_of_a_model_of_the_package_must_be_told_apart(shipped, monkeypatch):
    package = shipped / 'package' / 'saved_models'
    shutil.copytree(package / 'digits', shipped / 'digits')
    with pytest.raises(UserError, match=r'^--model=digits is .* here: give \./digits for yours, or /'):
        exported.find('digits')
    assert exported.find('./digits') == './digits/1'
    assert exported.find(str(package / 'digits')) == str(package / 'digits' / '1')
    monkeypatch.chdir(package)
    assert exported.find('digits') == str(package / 'digits' / '1')
    (shipped / 'classes' / 'digits' / '0').mkdir(parents=True)  # Pictures of noughts, for instance.
    monkeypatch.chdir(shipped / 'classes')
    assert exported.find('digits') == str(package / 'digits' / '1')


def test_the_weights_are_those_of_the_checkpoint(small_export):
    model, step = checkpoint.load_model(str(small_export))
    run, _ = checkpoint.load_model(str(golden.DIRECTORY / 'cdrl'))
    assert step == golden.STEPS
    for mine, theirs in zip(model.averages, run.averages, strict=True):
        for average, raw, expected in zip(mine[0].weights, mine[1].weights, theirs[0].weights, strict=True):
            np.testing.assert_array_equal(average, expected)
            np.testing.assert_array_equal(raw, expected)


@pytest.mark.slow
def test_a_run_starts_from_an_exported_model(capsys, shipped, expected):
    """By name, with the flags that the export wrote."""
    flags = f'--flagfile={shipped}/package/saved_models/digits/1/train.flags'
    slow = ['--train_steps=1', '--learning_rate=1e-8', '--initializer_learning_rate=1e-8']
    code, out, err = call(capsys, flags, '--init_from=digits', *slow, f'--workdir={shipped}/new')
    assert code == 0 and 'starting from the ema weights' in out, err
    start = json.loads((shipped / 'new' / 'start.json').read_text())
    assert (start['init_from'], start['step'], start['recipe']) == ('digits', golden.STEPS, 'cdrl')
    assert np.abs(sampled(capsys, f'--workdir={shipped}/new') - expected).mean() < 1
    assert 'one of digits' in refused(capsys, flags, '--init_from=numbers')


def test_the_flags_of_an_export_give_its_configuration(small_export):
    config = parsing.configuration_of([f'--flagfile={small_export}/train.flags'])
    assert config == configuration.load(small_export) and config.diffusion.mcmc_steps == (2,)


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--model=numbers'], ['numbers', 'one of digits']),
    (['--model='], ['--model']),
    (['--model=package'], ['package', 'holds no exported model']),
    (['--model=digits', '--weights=raw'], ['one set of weights', '--weights']),
    (['--model=digits', '--checkpoint_step=4', '--best'], ['--checkpoint_step, --best']),
    (['--model=digits', '--mode=train'], ['--model is for']),
    (['--model=digits', '--mode=train,sample'], ['--init_from']),
    (['--model=digits', '--channels=16'], ['--channels=16 here, 8 there']),
    (['--model=digits', '--labels=10'], ['from 0 to 9']),
    (['--model=digits', f'--workdir={golden.DIRECTORY}/t6'], ['holds a run of its own']),
])  # fmt: skip
def test_wrong_use(capsys, shipped, arguments, words):
    mode = [] if any(word.startswith('--mode=') for word in arguments) else ['--mode=sample']
    line = refused(capsys, *mode, *arguments)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    'name',
    [
        'config.json',
        'manifest.json',
        'saved_model.pb',
        'variables/variables.index',
        'variables/variables.data-00000-of-00001',
    ],
)
@pytest.mark.parametrize('damage', ['flip', 'cut', 'lose'])
def test_damage_is_named(capsys, shipped, name, damage):
    file = shipped / 'package' / 'saved_models' / 'digits' / '1' / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == 'flip' else content[: len(content) // 2])
    if damage == 'lose':
        file.unlink()
    line = refused(capsys, '--mode=sample', '--model=digits')
    assert 'digits/1' in line and (name in line or name == 'manifest.json') and 'export it again' in line


@pytest.mark.slow
def test_an_exported_model_is_exported_again(capsys, shipped, expected, monkeypatch):
    export_only(monkeypatch, 'energy')
    code, _, err = call(capsys, '--mode=export', '--model=digits', '--export_dir=again', '--max_samples=3')
    assert code == 0, err
    assert (
        json.loads((shipped / 'again' / '1' / 'assets.extra' / 'drl_tf.json').read_text())['max_samples'] == 3
    )
    assert np.abs(sampled(capsys, '--model=again') - expected).max() <= 1
