"""The command line under a MirroredStrategy of two logical CPUs: it trains, evaluates and goes on."""

import kills
from tiny import run

CODE = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from drl_tf import cli, devices
strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
devices.strategy = lambda: strategy
for steps in (3, 6):
    code = cli.main(['run.py', *sys.argv[1:], f'--train_steps={steps}'])
    if code:
        sys.exit(code)
"""


def test_two_replicas_train_evaluate_and_go_on(tmp_path):
    done = run('-c', CODE, *kills.OPTIONS, '--recipe=t6', '--evaluate_every=3', f'--workdir={tmp_path}/w')
    assert done.returncode == 0, done.stderr
    assert 'resuming at step 3' in done.stdout
    assert len((tmp_path / 'w' / 'evaluations.jsonl').read_text().splitlines()) == 2
