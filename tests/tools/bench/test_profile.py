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


def test_small_form(tmp_path, capsys):
    """The profiler sees each convolution of the graph once a step."""
    words = ['profile', '--rounds=2', '--precisions=float32', f'--preset={PRESET}']
    assert bench.main([*words, f'--directory={tmp_path}']) == 0
    assert '| number of convolutions | ' in capsys.readouterr().out
    found = json.loads((tmp_path / 'bench.jsonl').read_text().splitlines()[-1])
    config = parsing.configuration_of(PRESET.split())
    step = tf.function(compiled_model(config).train_step)
    batch = next(iter(pipeline.training_images(config.data, config.training.batch_size, 0)))
    assert found['number of convolutions'] == len(convolutions.of_graph(step, batch))
    assert found['convolutions'] > 0 and found['element-wise, and small ones'] > 0
    assert found['step'] < 60 and found['number of updates of variables'] > 10
    assert set(profile.KINDS) < set(found)
