"""Seconds of a training step by kind of operation."""

import json

import tensorflow as tf
from helpers.tiny import TINY

from drl_tf.cli import parsing
from drl_tf.data import pipeline
from drl_tf.tools.bench import __main__ as bench
from drl_tf.tools.bench import convolutions, profile
from drl_tf.training.optimizers import compiled_model

PRESET = ' '.join([*TINY, '--recipe=preconditioned', '--mcmc_steps=0', '--data_mean=0', '--data_std=0.5'])


def test_operations_are_told_apart():
    """What a loop or a call holds is counted by itself."""
    seen = {
        '_FusedConv2D': 4, 'While': 99, 'StatefulPartitionedCall': 99, 'BiasAddGrad': 2, 'Cast': 1, 'Max': 3,
        'Maximum': 1, 'AssignSubVariableOp': 5,
    }  # fmt: skip
    found = profile.by_kind(iter(seen.items()), steps=2)
    assert {kind: found[kind] for kind in profile.KINDS} == {
        'convolutions': 2, 'matrix products': 0, 'reads and updates of variables': 2.5, 'casts': 0.5,
        'reductions': 2.5, 'copies and pooling': 0, 'all else': 0.5,
    }  # fmt: skip
    assert found['number of reductions'] == 1


def test_each_convolution_is_seen_once_a_step(tmp_path, capsys):
    """The profile counts each convolution once a step and none in the update, which has fewer operations."""
    words = ['profile', '--rounds=2', '--precisions=float32', f'--preset={PRESET}']
    assert bench.main([*words, f'--directory={tmp_path}']) == 0
    assert '| number of convolutions | ' in capsys.readouterr().out
    lines = (tmp_path / 'bench.jsonl').read_text().splitlines()
    found, update = map(json.loads, lines[-2:])
    config = parsing.configuration_of(PRESET.split())
    step = tf.function(compiled_model(config).train_step, autograph=False)
    batch = next(iter(pipeline.training_images(config.data, config.training.batch_size, 0)))
    assert found['number of convolutions'] == len(convolutions.of_graph(step, batch))
    assert min(found[kind] for kind in ('convolutions', 'all else')) > 0
    assert update['name'] == f'{found["name"]}, update' and update['number of convolutions'] == 0
    assert 0 < update['number of all else'] < found['number of all else']
