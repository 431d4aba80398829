"""Checkpoints hold the whole state of a run and only sound ones appear under their name."""

import os

import numpy as np
import pytest
import tensorflow as tf
from helpers.flips import flipped
from helpers.small_models import trained

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.runs import checkpoint, workdirs
from drl_tf.runs.run_directory import Run


def state(model):
    return [
        np.array(variable)
        for variable in (*model.network.weights, *model.ema_network.weights, *model.optimizer.variables)
    ]


def disturb(model):
    for variable in (*model.network.weights, *model.ema_network.weights, *model.optimizer.variables):
        variable.assign(variable + tf.ones_like(variable))


def test_every_variable_comes_back(tmp_path):
    model = trained()[0]
    before = state(model)
    checkpoint.save(model, tmp_path)
    disturb(model)
    assert all(np.any(now != then) for now, then in zip(state(model), before, strict=True))
    assert checkpoint.restore(model, tmp_path) == 1
    for now, then in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_best_of_a_part_that_is_rolled_back_is_put_aside(tmp_path):
    """Training will write another checkpoint of its step."""
    for step in (8, 16):
        (tmp_path / 'checkpoints' / f'{step:08d}').mkdir(parents=True)
    checkpoint.keep_best(str(tmp_path), 16, {'score': 1})
    run = Run(str(tmp_path))
    run.step_back([], 20)
    assert checkpoint.best_step(str(tmp_path)) == 16
    run.step_back([20], 19)
    assert workdirs.steps(str(tmp_path)) == [8] and checkpoint.best_score(str(tmp_path)) is None
    assert (tmp_path / 'best.1' / '00000016').is_dir()


def test_keeps_the_last_three_and_no_half_written_one(tmp_path, monkeypatch):
    model = trained()[0]
    for step in (5, 6, 7, 8):
        model.optimizer.iterations.assign(step)
        checkpoint.save(model, tmp_path)
    assert workdirs.steps(tmp_path) == [6, 7, 8]
    model.optimizer.iterations.assign(9)
    monkeypatch.setattr(os, 'replace', _full_disk)
    with pytest.raises(
        UserError, match=r'00000009 could not be written .*No space.* the older ones are sound'
    ):
        checkpoint.save(model, tmp_path)
    assert os.listdir(workdirs.checkpoints(tmp_path)) and workdirs.steps(tmp_path) == [6, 7, 8]
    assert checkpoint.restore(model, tmp_path) == 8


def _full_disk(*_):
    raise OSError(28, 'No space left on device')


@pytest.fixture
def two_checkpoints(tmp_path):
    """A model and a workdir with its sound checkpoints of steps 1 and 2."""
    model = trained()[0]
    for step in (1, 2):
        model.optimizer.iterations.assign(step)
        checkpoint.save(model, tmp_path)
    yield model, tmp_path
    model.optimizer.iterations.assign(1)


def _truncated(path, size):
    path.write_bytes(path.read_bytes()[:size])


DAMAGES = {
    'empty': lambda path: _truncated(path, 0),
    'half': lambda path: _truncated(path, path.stat().st_size // 2),
    'one byte short': lambda path: _truncated(path, -1),
    'a flipped bit': flipped,
    'missing': lambda path: path.unlink(),
}


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('name', ['state.index', 'state.data-00000-of-00001', 'config.json', 'manifest.json'])
def test_a_damaged_checkpoint_is_passed_over(two_checkpoints, caplog, damage, name):
    model, workdir = two_checkpoints
    reason = (
        '' if name == 'manifest.json' and damage == 'a flipped bit' else name
    )  # It may be in the name or the sum of another file.
    DAMAGES[damage](workdir / 'checkpoints' / '00000002' / name)
    disturb(model)
    assert checkpoint.restore(model, workdir) == 1 == int(model.optimizer.iterations)
    assert '00000002 is damaged' in caplog.text and reason in caplog.text
    with pytest.raises(UserError, match=f'00000002 is damaged .*{reason}'):
        checkpoint.restore(model, workdir, 2)
    DAMAGES[damage](workdir / 'checkpoints' / '00000001' / name)
    with pytest.raises(UserError, match=f'00000001 is damaged .*{reason}'):
        checkpoint.restore(model, workdir)


def test_the_configuration_comes_back_from_a_checkpoint(two_checkpoints, caplog):
    model, workdir = two_checkpoints
    (workdir / 'config.json').write_text('{"data":')
    assert config.load(workdir) == model.config
    assert f'{workdir}/config.json is damaged' in caplog.text
    for path in workdir.glob('checkpoints/*/config.json'):
        path.write_text('')
    with pytest.raises(UserError, match=r'00000001/config\.json is damaged'):
        config.load(workdir)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match='no checkpoint'):
        checkpoint.restore(trained()[0], tmp_path)
