"""Scores of a trained model."""

import json
import os

from drl_tf import checkpoint, devices
from drl_tf.data import pipeline
from drl_tf.errors import UserError
from drl_tf.generate import sample_images
from drl_tf.metrics.score import digits_frechet


def evaluate(config, workdir, num_samples, weights='ema', step=None):
    """Fréchet distance of samples in the features of the digits classifier, beside its floor; written as JSON too.

    Args:
      config: a `Config`.
      workdir: the directory of the run.
      num_samples: how many images to sample.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.

    Returns:
      The figures, as {label: text}.

    Raises:
      UserError: the data are not digits, or there is no sound checkpoint.
    """
    if config.data.dataset not in ('digits', 'mnist'):
        raise UserError(f'--dataset={config.data.dataset} cannot be scored: the digits classifier is the only extractor here')
    model, step = checkpoint.load_model(workdir, config, step, devices.resolve_precision(config.training.precision))
    samples, _ = sample_images(model, num_samples, config.training.seed, weights)
    score = digits_frechet(samples, pipeline.load_images(config.data, 'train'), pipeline.load_images(config.data, 'test'))
    path = os.path.join(workdir, 'evaluation', f'{step:08d}-{weights}-{num_samples}.json')
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump({'step': step, 'weights': weights, 'seed': config.training.seed, **score}, file, indent=2)
    os.replace(path + '.tmp', path)
    return {
        'Fréchet distance': f'{score["frechet_distance_digits_classifier"]:.1f} ({num_samples:,} samples, digits classifier)',
        'its floor': f'{score["floor"]:.1f} ({score["num_held_out"]:,} held-out digits against {score["num_real"]:,} training digits)',
        'evaluation': path,
    }
