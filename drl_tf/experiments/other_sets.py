"""Loads or makes the sets of images that --mode=ood compares with the test split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.data import letters, pipeline
from drl_tf.data.indexed import random_places
from drl_tf.experiments import ranking, set_names
from drl_tf.runs import samples

if TYPE_CHECKING:
    from drl_tf.config.config import Config


def load(
    names: Sequence[str], config: Config, images: np.ndarray, limit: int | None, resize: bool = False
) -> dict[str, np.ndarray]:
    """Loads or makes sets of images in the shape of the model's images.

    The name of a set is one of these:

    - 'noise': normal noise with the mean and standard deviation of `images` in each channel.
    - 'constant': one random colour per image. 'letters': drawn letters.
    - 'interpolation': the mean of each image and the next.
    - 'shuffled' (pixels in random order), 'inverted', 'noisy', 'shifted' or 'blurred': changed `images`.
    - 'white', 'black' or 'uniform' (uniform noise).
    - the name of a dataset: its test split. 'folder:DIR': the images in a directory.

    Args:
      names: names of the sets.
      config: the configuration of the model.
      images: images of the test split, uint8 [n, H, W, C].
      limit: largest number of images from a dataset or a directory, of a directory random ones; None: all.
      resize: whether to crop and resize the pictures of a directory to the model's images.

    Returns:
      {name: images, uint8 [m, H, W, C]}; m = n unless the images come from a dataset or a directory.

    Raises:
      UserError: a dataset or folder is missing, or holds damaged images or images of another size.
    """
    seed = config.training.seed
    altered = ranking.others(images, seed) if set(names) & set(set_names.ALTERED) else {}
    found = {}
    for name in names:
        if name.startswith(set_names.FOLDER):
            found[name] = _some(name.removeprefix(set_names.FOLDER), config, limit, resize)
        elif name in set_names.MADE:
            found[name] = _made(name, images, seed)
        elif name in set_names.ALTERED:
            found[name] = altered[name]
        else:
            found[name] = pipeline.load_images(set_names.data_of(name, config), 'test', limit)
    return found


def _some(path: str, config: Config, limit: int | None, resize: bool) -> np.ndarray:
    """Reads `limit` random images of a directory, always the same ones, in order; None: all of them."""
    total = samples.count(path)
    places = random_places(limit or total, total)
    kept = []
    first = 0
    for batch in samples.read(path, config.image_shape, resize):
        start, end = np.searchsorted(places, [first, first + len(batch)])
        kept.append(batch[places[start:end] - first])
        first += len(batch)
    return np.concatenate(kept)


def _made(name: str, images: np.ndarray, seed: int) -> np.ndarray:
    """Makes a set of as many images as `images`, uint8 [n, H, W, C]."""
    shape = images.shape
    folded = noise.fold(noise.root(seed, noise.SCORING), noise.OTHER_SET)
    if name == 'letters':
        return letters.draw(shape)
    if name == 'interpolation':
        return np.round((images.astype(np.float64) + np.roll(images, -1, axis=0)) / 2).astype(np.uint8)
    if name == 'constant':
        colours = tf.random.stateless_uniform([len(images), 1, 1, shape[-1]], folded, 0, 256, tf.int32)
        return np.broadcast_to(colours.numpy().astype(np.uint8), shape)
    mean, std = images.mean(axis=(0, 1, 2)), images.std(axis=(0, 1, 2))
    return np.clip(np.round(mean + std * noise.normal(folded, shape).numpy()), 0, 255).astype(np.uint8)
