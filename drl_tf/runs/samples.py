"""Sets of samples on disk, each divided into several files (shards)."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import put_aside, read_json, write_json, written_aside
from drl_tf.core.weights import Weights
from drl_tf.data import image_files
from drl_tf.runs import pictures

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.runs.request import SampleRequest

DESCRIPTION = 'samples.json'
# The most images and bytes in a shard, and the most shards in a set.
MOST_IMAGES = 1024
_MOST_BYTES = 2**26
_MOST_SHARDS = 2**20


class Shard(NamedTuple):
    """One of the files that make up a set of samples.

    Attributes:
      path: path of the file.
      first: index of its first image.
      count: number of its images.
    """

    path: str
    first: int
    count: int  # type: ignore[assignment]  # Hides `tuple.count`.


def count(path: str) -> int:
    """Counts the images in a set of samples, a directory, or an array file; raises UserError without any."""
    return describe(path)['settings']['num_samples'] if _is_set(path) else image_files.count(path)


def read(path: str, image_shape: Sequence[int], resize: bool = False) -> Iterator[np.ndarray]:
    """Reads images of one size in order, a batch at a time.

    Args:
      path: a directory of samples that --mode=sample wrote; a directory of pictures; or a `.npz` or `.npy`
        file with an array uint8 [N, H, W, C], in `.npz` named `images`, `samples` or `arr_0`.
      image_shape: the expected [H, W, C].
      resize: whether to crop and resize pictures to that shape.

    Yields:
      The images of each batch, uint8 [n, H, W, C]; for points of the plane, float32.

    Raises:
      UserError: images are missing or damaged, or have another shape or type.
    """
    return _read(path, image_shape) if _is_set(path) else image_files.read(path, image_shape, resize=resize)


def first_images(path: str, image_shape: Sequence[int], count: int) -> np.ndarray:
    """Reads the first `count` images, or all if there are fewer, as one array [n, H, W, C].

    `path` is a set of samples, a directory of pictures, or a `.npz` or `.npy` file; see `read`.
    """
    images = []
    wanted = count
    for batch in read(path, image_shape):
        images.append(batch[:wanted])
        wanted -= len(images[-1])
        if not wanted:
            break
    return np.concatenate(images)


def _read(directory: str, image_shape: Sequence[int]) -> Iterator[np.ndarray]:
    described = describe(directory)
    settings = described['settings']
    if settings['image_shape'] != list(image_shape):
        raise UserError(
            f'{directory} holds images of {settings["image_shape"]}, not {list(image_shape)} [H, W, C]'
        )
    all_shards = shards(directory, described)
    missing = [shard.path for shard in all_shards if not os.path.exists(shard.path)]
    if missing:
        raise UserError(
            f'{directory} lacks {len(missing)} of {len(all_shards)} shards, first {missing[0]}: run again '
            'the command that drew it'
        )
    for shard in all_shards:
        try:
            yield _load(shard, settings)
        except Exception as error:
            raise UserError(
                f'{shard.path} is damaged ({one_line(error)}): run again the command that drew it'
            ) from error


def _is_set(path: str) -> bool:
    """Returns whether a directory holds a set that `drawing.draw` wrote, or remains of such a set."""
    if not os.path.isdir(path):
        return False
    return any(name == DESCRIPTION or fnmatch.fnmatch(name, 'images-*-of-*.npz') for name in os.listdir(path))


def describe(directory: str) -> dict[str, Any]:
    """Reads the `samples.json` of a set of samples; raises UserError if it is missing or damaged.

    It has 'settings' (which decide the pixels), 'images_per_shard' and perhaps 'source' (see `is_finished`).
    """
    path = os.path.join(directory, DESCRIPTION)
    try:
        described = read_json(path)
        _check_described(described)
        return described
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is missing or damaged ({one_line(error)}): draw the samples again'
        ) from error


def _check_described(described: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError if the content of `samples.json` is not possible."""
    settings = described['settings']
    size = described['images_per_shard']
    numbers = [size, *(settings[name] for name in ('first', 'num_samples', 'seed')), *settings['image_shape']]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError('a count is not a whole number from 0')
    if not 0 < settings['num_samples'] <= size * _MOST_SHARDS:
        raise ValueError(f'num_samples {settings["num_samples"]} in shards of {size}')


def is_finished(directory: str, config: Config, request: SampleRequest, source: str) -> bool:
    """Returns whether a directory holds all images of `request`, undamaged.

    The images must come from the model that `source` identifies, with the options of `config` that affect
    them. `source` is the result of `checkpoint.fingerprint`: the SHA-256 of the `manifest.json` in the
    directory of the checkpoint or exported model. This manifest holds the SHA-256 of each file.
    """
    try:
        described = describe(directory)
    except UserError:
        return False
    settings = described['settings']
    asked = _asked(config, request)
    if described.get('source') != source or any(settings.get(name) != asked[name] for name in asked):
        return False
    return all(_is_sound(shard, settings) for shard in shards(directory, described))


def missing(directory: str, settings: Mapping[str, Any], batch: int, source: str = '') -> list[Shard]:
    """Returns the missing and damaged files of a set of samples; writes `samples.json` for a new set.

    Args:
      directory: the directory of the set. If it holds a set with other settings, that set is moved aside.
      settings: {name: JSON value}, all settings on which the pixels depend, from `settings_of`.
      batch: number of images drawn at once. Each file of a new set, but the last, holds whole batches.
      source: result of `checkpoint.fingerprint`, to record in `samples.json`; '': none.
    """
    return [
        shard
        for shard in shards(directory, _begun(directory, settings, batch, source))
        if not _is_sound(shard, settings)
    ]


def write(shard: Shard, images: Sequence[np.ndarray], seed: int, more: dict[str, Any] | None = None) -> None:
    """Writes batches of images, concatenated, to the `.npz` file of a shard, as its entry `images`.

    The other entries of the file are `first` (index of the shard's first image), `seed` (random seed of the
    set) and those in `more`, {name: array}.
    """
    with written_aside(shard.path, 'wb') as file:
        np.savez(file, images=np.concatenate(images), first=shard.first, seed=seed, **(more or {}))


def _begun(directory: str, settings: Mapping[str, Any], batch: int, source: str) -> dict[str, Any]:
    """Returns the content of `samples.json`; for new `settings`, writes it and moves the old set aside."""
    described = None
    if os.path.exists(os.path.join(directory, DESCRIPTION)):
        with contextlib.suppress(UserError):
            described = describe(directory)
    if described and described['settings'] == settings:
        if source and described.get('source') != source:
            described['source'] = source
            write_json(os.path.join(directory, DESCRIPTION), described)
        return described
    kept = put_aside(directory)
    if kept:
        former = described['settings'] if described else settings
        changed = [name for name, value in settings.items() if former.get(name) != value]
        reason = (
            f'with other settings ({", ".join(changed)})' if changed else f'without a sound {DESCRIPTION}'
        )
        logging.warning('%s held samples %s: they are now in %s', directory, reason, kept)
    most = min(MOST_IMAGES, _MOST_BYTES // math.prod(settings['image_shape']))
    described = {'settings': settings, 'images_per_shard': batch * max(1, most // batch)}
    if source:
        described['source'] = source
    write_json(os.path.join(directory, DESCRIPTION), described)
    return described


def settings_of(model: EnergyModel, request: SampleRequest) -> dict[str, Any]:
    """Returns all settings on which samples depend, {name: JSON value}, with a hash of the weights."""
    return {**_asked(model.config, request), 'weights_sha256': fingerprint(model, request.weights)}


def _asked(config: Config, request: SampleRequest) -> dict[str, Any]:
    """Returns the settings in `settings_of`, except the hash of the weights."""
    groups = (config.network, config.diffusion, config.initializer, config.sampling)
    options = {
        name: value
        for group in groups
        for name, value in dataclasses.asdict(group).items()
        if name != 'sample_batch_size'
    }
    options |= {
        'precision': config.training.precision,
        'num_classes': config.data.num_classes,
        'image_shape': config.image_shape,
    }
    mine = {
        'seed': request.seed,
        'first': request.first,
        'num_samples': request.count,
        'step': request.step,
        'weights': request.weights,
        'labels': request.labels,
        'label_weights': request.label_weights,
        'guidance': request.guidance,
    }
    return json.loads(json.dumps({**options, **mine}))


def fingerprint(model: EnergyModel, weights: Weights) -> str:
    """Returns a SHA-256 of a model's weights, 'ema' or 'raw', except the vectors u for spectral norms."""
    digest = hashlib.sha256()
    for pair in model.averages:
        for variable in Weights(weights).of(*pair).weights:
            if variable.name != 'u':
                digest.update(np.ascontiguousarray(variable.value.numpy()).data)
    return digest.hexdigest()


def shards(directory: str, described: Mapping[str, Any]) -> list[Shard]:
    """Returns the files of a set of samples, existing or not. `described` is what `samples.json` holds."""
    settings = described['settings']
    size = described['images_per_shard']
    first = settings['first']
    last = first + settings['num_samples']
    starts = range(first, last, size)
    names = [f'images-{index:05d}-of-{len(starts):05d}.npz' for index in range(len(starts))]
    return [
        Shard(os.path.join(directory, name), start, min(size, last - start))
        for name, start in zip(names, starts, strict=True)
    ]


def _is_sound(shard: Shard, settings: Mapping[str, Any]) -> bool:
    """Returns whether a shard exists and is sound; warns if it is damaged."""
    if not os.path.exists(shard.path):
        return False
    try:
        _load(shard, settings)
        return True
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
        logging.warning('%s is damaged (%s): drawing it again', shard.path, one_line(error))
        return False


def _load(shard: Shard, settings: Mapping[str, Any]) -> np.ndarray:
    """Reads the images of a shard; raises an error of any kind if its checksums or contents are wrong."""
    most = shard.count * math.prod(settings['image_shape']) + _MOST_BYTES
    with zipfile.ZipFile(shard.path) as archive:
        if sum(member.file_size for member in archive.infolist()) > most:
            raise ValueError('longer than its images')
        arrays = {
            name: np.lib.format.read_array(archive.open(name), allow_pickle=False)
            for name in archive.namelist()
        }
    images, first, seed = (arrays[f'{name}.npy'] for name in ('images', 'first', 'seed'))
    kind = pictures.kept(np.zeros([1, *settings['image_shape']], np.float32)).dtype
    wanted = ((shard.count, *settings['image_shape']), kind, shard.first, settings['seed'])
    if (images.shape, images.dtype, first, seed) != wanted:
        raise ValueError('holds other images than its name says')
    return images
