"""Begins a run with exact energies, which stores the training images instead of trained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.core.guidance import classes_of
from drl_tf.data import pipeline
from drl_tf.distributed import chief, devices
from drl_tf.runs import checkpoint, workdirs
from drl_tf.training.optimizers import compiled_model

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood


def load_images(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Loads the training images that a new run with --energy=exact stores.

    Args:
      config: the configuration, with --energy=exact.

    Returns:
      Images, uint8 [N, H, W, C], and labels, int32 [N]: class + 1, or 0 for no class.

    Raises:
      UserError: the images do not fit in memory, there are fewer than --exact_images, or a class has no
        image.
    """
    images, labels = pipeline.noisy_set(config.data)
    if config.data.exact_images > len(images):
        asked = config.data.exact_images
        raise UserError(f'--exact_images={asked} must be at most {len(images)}, or 0 for all images')
    _check_classes(labels, config.data.num_classes)
    return images, labels


def store_images(
    config: Config, workdir: str, run: Any, loaded: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, str]:
    """Stores the training images in a checkpoint at step 0, for a run with --energy=exact.

    Exact energies are computed from the stored images, so there is nothing to train. If the workdir already
    has a checkpoint of this configuration, the checkpoint is left unchanged.

    Args:
      config: the configuration, with --energy=exact.
      workdir: the run's directory.
      run: a `chief.Proxy` that holds a `run_directory.Run`, which reads and writes the files of the
        workdir. With several workers, its methods run on the chief (the first worker).
      loaded: the images and labels that `load_images` returns; None if the workdir has a checkpoint.

    Returns:
      Lines to print, {label: text}: the number of images, and the path of the checkpoint.

    Raises:
      UserError: the workdir holds another run.
    """
    if loaded is None:
        stored = chief.only(lambda: configuration.load(workdir).data.exact_images)()
        run.compare(config.replace(exact_images=config.data.exact_images or stored))
    else:
        run.compare(config)
        images, labels = loaded
        config = config.replace(exact_images=len(images))
        stored = len(images)
        with devices.strategy().scope():
            model = compiled_model(config)
            _hold(model, images, labels)
        run.save_config(config)
        checkpoint.save(model, workdir)
    return {'exact energies': f'of {stored:,} images', 'checkpoints': workdirs.checkpoints(workdir)}


def _hold(model: RecoveryLikelihood, images: np.ndarray, labels: np.ndarray) -> None:
    """Stores images, uint8 [N, H, W, C], and labels, class + 1 or 0, in a model with --energy=exact."""
    for pair in model.averages:
        for network in pair:
            network.hold(pixels.from_levels(np.float32(images)), labels)


def _check_classes(labels: np.ndarray, num_classes: int) -> None:
    """Raises UserError if a class has no image: the density of such a class does not exist."""
    missing = set(range(num_classes)) - set(classes_of(labels).tolist())
    if missing:
        raise UserError(
            f'--exact_images={len(labels)} leaves no image of class {min(missing)}: give more, or '
            '--num_classes=0'
        )
