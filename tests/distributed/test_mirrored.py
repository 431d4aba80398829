"""A MirroredStrategy of two logical CPUs: the command line trains, evaluates and goes on, and a model takes
the steps of one device."""

import json
import shutil

import numpy as np
import pytest
from helpers import stand_in
from helpers.forks import run
from helpers.small_models import moved
from helpers.tiny import call

from drl_tf.tools import kills

TWO_CPUS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
CODE = """
from drl_tf.cli.main import main
from drl_tf.distributed import devices
code = main(['run.py', '--strategy=mirrored', *sys.argv[1:]])
assert devices.strategy().num_replicas_in_sync == 2
sys.exit(code)
"""
FEATURES = """
import numpy as np
from drl_tf.config import config
from drl_tf.data import dataset_table
from drl_tf.distributed import cluster, devices, spread
from drl_tf.evaluation.metrics import digits_classifier, extractors
devices.set_up(False, cluster.Devices(strategy='mirrored'))
images = np.random.default_rng(0).integers(0, 256, [7, 32, 32, 1], np.uint8)
def who(images):
    return tf.fill([tf.shape(images)[0]], tf.distribute.get_replica_context().replica_id_in_sync_group), None
ids, nothing = spread.over_replicas(who)(images)
assert ids.numpy().tolist() == [0, 0, 0, 0, 1, 1, 1] and nothing is None, ids
data = dataset_table.resolve(config.Data())
expected = digits_classifier.load()(digits_classifier.preprocess(images))
found = extractors.load(data).run(images)
for name, result in zip(('features', 'logits'), found):
    np.testing.assert_allclose(result, expected[name], rtol=1e-4, atol=1e-4)
network = tf.saved_model.load(sys.argv[1])
features, _ = extractors.load(data, sys.argv[1]).run(images)
size = network.__call__.concrete_functions[0].structured_input_signature[0][0].shape[1]
grey = tf.image.grayscale_to_rgb(tf.cast(images, tf.float32))
colour = tf.image.resize(grey, [size, size], 'bilinear', antialias=True)
expected = tf.reshape(network(colour / 127.5 - 1)['pool_3'], [7, -1])
np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
"""
SEVERAL_STEPS = """
import json
sys.path.insert(0, 'tests')
from helpers.small_models import moved
with tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1']).scope():
    print(json.dumps(moved(3, microbatches=2, remat=True, norm='instance').tolist()))
"""


@pytest.mark.slow
def test_two_replicas_take_several_steps_in_a_call():
    """Three steps in one call, in microbatches with recomputed activations, move the weights of two replicas
    as three single steps move those of one device."""
    done = run('-c', TWO_CPUS + SEVERAL_STEPS)
    assert done.returncode == 0, done.stderr
    several = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(several, moved(1, norm='instance'), atol=2e-5)


@pytest.mark.slow
def test_two_replicas_take_features_of_their_parts_of_the_images(tmp_path):
    """Two replicas share the images and find the features of one device, by the digits classifier and by a
    network that lies on the first device."""
    done = run('-c', TWO_CPUS + FEATURES, stand_in.save(tmp_path / 'network'))
    assert done.returncode == 0, done.stderr


def trained(workdir, *options):
    """The output of a command that trains with two replicas."""
    done = run('-c', TWO_CPUS + CODE, *kills.OPTIONS, *options, f'--workdir={workdir}')
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_replicas_go_on_with_a_run_of_one(capsys, tmp_path):
    """Two networks, from the checkpoint of step 4 on, which one device has written: loss, gradient norm,
    weights and moments of the steps after it with clipping, and an evaluation."""
    options = ['--recipe=cdrl', '--clip_norm=0.1', '--evaluate_every=8', '--checkpoint_every=4']
    options += ['--log_every=4', '--train_steps=8']
    one, two = tmp_path / 'one', tmp_path / 'two'
    assert call(capsys, *kills.OPTIONS, *options, '--strategy=one', f'--workdir={one}')[0] == 0
    shutil.copytree(one, two, ignore=shutil.ignore_patterns('00000008', 'best', 'evaluations.jsonl'))
    assert 'resuming at step 4' in trained(two, *options)
    assert len((two / 'evaluations.jsonl').read_text().splitlines()) == 1
    kills.assert_same(one, two, 8)


@pytest.mark.slow
def test_two_replicas_take_the_steps_of_one(capsys, tmp_path):
    """Loss, gradient norm, weights and moments of 8 steps with clipping, of all losses of preconditioned
    energies.

    Without --recovery_off_data: at the first step some of its gradients are mere rounding, which Adam makes
    as long as others. test_microbatches.py compares it in parts, from weights away from the start."""
    options = [
        '--recipe=preconditioned',
        '--clip_norm=0.1',
        '--evaluate_every=0',
        '--checkpoint_every=8',
        '--train_steps=8',
        '--time_score=0.1',
        '--level_classification=0.5',
        '--recovery_nce=0.5',
        '--contrastive=0.1',
        '--contrastive_after=3',
        '--num_classes=-1',
        '--mcmc_steps=2',
        '--noshared_noise',
    ]
    trained(tmp_path / 'two', *options)
    one = ['--strategy=one', f'--workdir={tmp_path}/one']
    assert call(capsys, *kills.OPTIONS, *options, *one)[0] == 0
    kills.assert_same(tmp_path / 'one', tmp_path / 'two', 8)
