"""Sets of samples on disk, in shards: what is there, what is missing, and reading them."""

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import put_aside, read_json, write_json, written_aside
from drl_tf.core.weights import Weights
from drl_tf.data import image_files
from drl_tf.runs import pictures

DESCRIPTION = 'samples.json'
MOST_IMAGES, _MOST_BYTES, _MOST_SHARDS = 1024, 2**26, 2**20


class Shard(NamedTuple):
    """Where images `first`, `first` + 1, ... are."""

    path: str
    first: int
    count: int


def count(path):
    """How many images there are at what `read` reads; raises UserError as it does."""
    return _describe(path)['settings']['num_samples'] if _is_set(path) else image_files.count(path)


def read(path, image_shape) -> Iterator[np.ndarray]:
    """Reads images of one size, a part at a time, in order.

    Args:
      path: a directory that `draw` wrote, or what `data.image_files` reads: a `.npz` or `.npy` file, or a
        directory of pictures.
      image_shape: [H, W, C] that they must have.

    Yields:
      uint8 [n, H, W, C]; points of the plane, float32.

    Raises:
      UserError: there is nothing, not all of a set, something damaged, or images of another kind.
    """
    return _read(path, image_shape) if _is_set(path) else image_files.read(path, image_shape)


def first_images(path, image_shape, count):
    """The first `count` images of what `read` reads, or all where there are fewer; as `read`."""
    images = []
    for part in read(path, image_shape):
        images.append(part[: count - sum(map(len, images))])
        if sum(map(len, images)) == count:
            break
    return np.concatenate(images)


def _read(directory, image_shape):
    described = _describe(directory)
    settings = described['settings']
    if settings['image_shape'] != list(image_shape):
        raise UserError(
            f'{directory} holds images of {settings["image_shape"]}, not {list(image_shape)} [H, W, C]'
        )
    shards = _shards(directory, described)
    missing = [shard.path for shard in shards if not os.path.exists(shard.path)]
    if missing:
        raise UserError(
            f'{directory} lacks {len(missing)} of {len(shards)} shards, first {missing[0]}: run the command '
            'that draws them'
        )
    for shard in shards:
        try:
            yield _load(shard, settings)
        except Exception as error:
            raise UserError(
                f'{shard.path} is damaged ({one_line(error)}): run the command that drew it again'
            ) from error


def _is_set(path):
    """Whether a directory holds a set of ours, or the remains of one."""
    if not os.path.isdir(path):
        return False
    return any(name == DESCRIPTION or fnmatch.fnmatch(name, 'images-*-of-*.npz') for name in os.listdir(path))


def _describe(directory):
    """What `samples.json` says: the settings, and how many images a shard holds."""
    path = os.path.join(directory, DESCRIPTION)
    try:
        described = read_json(path)
        _check_described(described)
        return described
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is missing or damaged ({one_line(error)}): draw the samples again'
        ) from error


def _check_described(described):
    """Raises ValueError or KeyError for what no `samples.json` says."""
    settings, size = described['settings'], described['images_per_shard']
    numbers = [size, *(settings[name] for name in ('first', 'num_samples', 'seed')), *settings['image_shape']]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError('a number is no whole number from 0 up')
    if not 0 < settings['num_samples'] <= size * _MOST_SHARDS:
        raise ValueError(f'num_samples {settings["num_samples"]} in shards of {size}')


def is_finished(directory, config, request, source):
    """Whether a directory holds a whole set, drawn from the checkpoint with the fingerprint `source`."""
    try:
        described = _describe(directory)
    except UserError:
        return False
    settings = described['settings']
    asked = _asked(config, request)
    if described.get('source') != source or any(settings.get(name) != asked[name] for name in asked):
        return False
    return all(_is_sound(shard, settings) for shard in _shards(directory, described))


def missing(directory, settings, batch, source=''):
    """The shards that are still to be drawn; `source` is noted as the checkpoint that they come from."""
    return [
        shard
        for shard in _shards(directory, _begun(directory, settings, batch, source))
        if not _is_sound(shard, settings)
    ]


def write(shard, images, seed):
    """Writes the images of a shard, a list of batches, aside and renamed."""
    with written_aside(shard.path, 'wb') as file:
        np.savez(file, images=np.concatenate(images), first=shard.first, seed=seed)


def _begun(directory, settings, batch, source):
    """What `samples.json` says once it says these settings; whatever else is there is put aside."""
    described = None
    if os.path.exists(os.path.join(directory, DESCRIPTION)):
        with contextlib.suppress(UserError):
            described = _describe(directory)
    if described and described['settings'] == settings:
        if source and described.get('source') != source:
            described['source'] = source
            write_json(os.path.join(directory, DESCRIPTION), described)
        return described
    kept = put_aside(directory)
    if kept:
        changed = [
            name for name, value in settings.items() if described and described['settings'].get(name) != value
        ]
        reason = f'of other settings ({", ".join(changed)})' if changed else f'without a sound {DESCRIPTION}'
        logging.warning('%s held samples %s: they are now in %s', directory, reason, kept)
    most = min(MOST_IMAGES, _MOST_BYTES // math.prod(settings['image_shape']))
    described = {'settings': settings, 'images_per_shard': batch * max(1, most // batch)}
    if source:
        described['source'] = source
    write_json(os.path.join(directory, DESCRIPTION), described)
    return described


def settings_of(model, request):
    """All that decides the pixels of a `SampleRequest`, as JSON has it."""
    return {**_asked(model.config, request), 'weights_sha256': fingerprint(model, request.weights)}


def _asked(config, request):
    """As `settings_of`, but for the weights."""
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


def fingerprint(model, weights):
    """SHA-256 of the weights in use; u follows from them."""
    digest = hashlib.sha256()
    for pair in model.averages:
        for variable in Weights(weights).of(*pair).weights:
            if variable.name != 'u':
                digest.update(np.ascontiguousarray(variable.value.numpy()))
    return digest.hexdigest()


def _shards(directory, described):
    """The shards of a whole set."""
    settings, size = described['settings'], described['images_per_shard']
    first, last = settings['first'], settings['first'] + settings['num_samples']
    starts = range(first, last, size)
    names = [f'images-{index:05d}-of-{len(starts):05d}.npz' for index in range(len(starts))]
    return [
        Shard(os.path.join(directory, name), start, min(size, last - start))
        for name, start in zip(names, starts, strict=True)
    ]


def _is_sound(shard, settings):
    """Whether a shard need not be drawn; a damaged one is named in a warning."""
    if not os.path.exists(shard.path):
        return False
    try:
        _load(shard, settings)
        return True
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
        logging.warning('%s is damaged (%s): drawn again', shard.path, one_line(error))
        return False


def _load(shard, settings):
    """The images of a shard, once its checksums and contents are found right."""
    with zipfile.ZipFile(shard.path) as archive:
        if (
            sum(member.file_size for member in archive.infolist())
            > shard.count * math.prod(settings['image_shape']) + _MOST_BYTES
        ):
            raise ValueError('longer than its images')
        members = (archive.open(f'{name}.npy') for name in ('images', 'first', 'seed'))
        images, first, seed = (np.lib.format.read_array(member, allow_pickle=False) for member in members)
    kind = pictures.kept(np.zeros([1, *settings['image_shape']], np.float32)).dtype
    wanted = ((shard.count, *settings['image_shape']), kind, shard.first, settings['seed'])
    if (images.shape, images.dtype, first, seed) != wanted:
        raise ValueError('other images than its name says')
    return images
