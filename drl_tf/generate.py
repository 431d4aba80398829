"""Sampling from a trained model into files."""

import os

import numpy as np
import tqdm

from drl_tf import checkpoint, devices, report

_TRAJECTORY_ROWS = 8


def sample_images(model, num_samples, seed, weights='ema'):
    """Draws images a batch at a time; image i depends on (seed, i) alone.

    Args:
      model: a `RecoveryLikelihood`.
      num_samples: how many.
      seed: an int.
      weights: 'ema' or 'raw'.

    Returns:
      Images uint8 [num_samples, H, W, C], and the states of the first batch, [x_T, ..., x_0].
    """
    batch = min(num_samples, model.config.sampling.sample_batch_size)
    images, first_states = [], None
    with tqdm.tqdm(total=num_samples, unit=' images', desc='sampling', mininterval=1) as bar:
        for first in range(0, num_samples, batch):
            states = model.sample(batch, [seed, 1], first, weights=weights)
            first_states = first_states or states
            images.append(report.to_uint8(states[-1]))
            bar.update(min(batch, num_samples - first))
    return np.concatenate(images)[:num_samples], first_states


def generate(config, workdir, num_samples, weights='ema', step=None):
    """Samples a trained model: a grid and a trajectory as PNG, all images as `.npz` (`images`, uint8 [n, H, W, C]).

    Args:
      config: a `Config`; its seed, K, noise scale and batch size are those of the sampling.
      workdir: the directory of the run.
      num_samples: how many images.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: there is no sound checkpoint.
    """
    precision = devices.resolve_precision(config.training.precision)
    model, step = checkpoint.load_model(workdir, config, step, precision)
    images, states = sample_images(model, num_samples, config.training.seed, weights)
    root = os.path.join(workdir, 'samples', f'{step:08d}-{weights}-seed{config.training.seed}')
    report.save_png(f'{root}.png', report.square(images))
    report.save_png(f'{root}-trajectory.png', report.trajectory(states, _TRAJECTORY_ROWS))
    with open(f'{root}.npz.tmp', 'wb') as file:
        np.savez_compressed(file, images=images)
    os.replace(f'{root}.npz.tmp', f'{root}.npz')
    return {'grid': f'{root}.png', 'trajectory': f'{root}-trajectory.png', f'{num_samples:,} images': f'{root}.npz'}
