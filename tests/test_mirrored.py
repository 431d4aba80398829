"""The command line under a MirroredStrategy of two logical CPUs: it trains, evaluates and goes on, and takes the steps of one device."""

import kills
import pytest
from tiny import call, run

CODE = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from drl_tf import cli, devices
for steps in sys.argv[1].split(','):
    code = cli.main(['run.py', '--strategy=mirrored', *sys.argv[2:], f'--train_steps={steps}'])
    assert devices.strategy().num_replicas_in_sync == 2
    if code:
        sys.exit(code)
"""


def test_two_replicas_train_evaluate_and_go_on(tmp_path):
    done = run('-c', CODE, '3,6', *kills.OPTIONS, '--recipe=t6', '--evaluate_every=3', f'--workdir={tmp_path}/w')
    assert done.returncode == 0, done.stderr
    assert 'resuming at step 3' in done.stdout
    assert len((tmp_path / 'w' / 'evaluations.jsonl').read_text().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize('recipe', ['t6', 'cdrl'])
def test_two_replicas_take_the_steps_of_one(capsys, tmp_path, recipe):
    """Loss, gradient norm, weights and moments of 20 steps with clipping."""
    options = [*kills.OPTIONS, f'--recipe={recipe}', '--clip_norm=0.1', '--checkpoint_every=10', '--evaluate_every=0']
    done = run('-c', CODE, '20', *options, f'--workdir={tmp_path}/two')
    assert done.returncode == 0, done.stderr
    assert call(capsys, *options, '--strategy=one', '--train_steps=20', f'--workdir={tmp_path}/one')[0] == 0
    kills.assert_same(tmp_path / 'one', tmp_path / 'two', 20)
