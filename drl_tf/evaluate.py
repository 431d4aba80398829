"""Scores of a trained model."""

import dataclasses
import json
import os

from drl_tf import checkpoint
from drl_tf.data import pipeline
from drl_tf.errors import UserError
from drl_tf.files import written_aside
from drl_tf.generate import file_stem, labels_in_turn, sample_images
from drl_tf.metrics.score import digits_frechet

NUM_SAMPLES = 2048


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
    check_scored(config, num_samples)
    model, step = checkpoint.load_model(workdir, config, step)
    score, _ = score_samples(model, num_samples, weights)
    path = os.path.join(workdir, 'evaluation', file_stem(config, workdir, step, weights, num_samples) + '.json')
    settings = {'seed': config.training.seed, 'mcmc_steps': config.diffusion.mcmc_steps, **dataclasses.asdict(config.sampling)}
    with written_aside(path) as file:
        json.dump({'step': step, 'weights': weights, **settings, **score}, file, indent=2)
    figures = {
        'Fréchet distance': f'{score["frechet_distance_digits_classifier"]:.1f} ({num_samples:,} samples, digits classifier)',
        'its floor': f'{score["floor"]:.1f} ({score["num_held_out"]:,} held-out digits against {score["num_real"]:,} training digits)',
    }
    if 'frechet_distance_held_out_size' in score:
        figures['in parts'] = f'{score["frechet_distance_held_out_size"]:.1f} ({score["num_held_out"]:,} samples at a time)'
    if 'class_agreement' in score:
        figures['class agreement'] = f'{score["class_agreement"]:.1%} of the samples are taken for the class that was asked for'
    return {**figures, 'evaluation': path}


def check_scored(config, num_samples):
    """Raises UserError where the digits classifier does not apply, or for too few images."""
    if num_samples < 2:
        raise UserError(f'--num_samples={num_samples} must be at least 2 to evaluate')
    if config.data.dataset not in ('digits', 'mnist') or config.data.image_channels != 1:
        raise UserError(f'--dataset={config.data.dataset} cannot be scored: the digits classifier, for grey digits, is the only extractor')


def score_samples(model, num_samples, weights='ema'):
    """Samples a model of digits and scores the samples.

    Args:
      model: a `RecoveryLikelihood` of digits; classes, where it has them, take turns.
      num_samples: how many images.
      weights: 'ema' or 'raw'.

    Returns:
      `metrics.score.digits_frechet` of the samples, and the samples, uint8 [n, H, W, C].
    """
    config = model.config
    samples, _ = sample_images(model, num_samples, config.training.seed, weights)
    train, held_out = (pipeline.load_images(config.data, split) for split in ('train', 'test'))
    labels = labels_in_turn(config, 0, num_samples).numpy() - 1 if config.data.num_classes else None
    return digits_frechet(samples, train, held_out, labels), samples
