"""Sets of samples on disk: drawn in shards, so that an interruption costs at most one, and read again."""

import contextlib
import dataclasses
import fnmatch
import functools
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import put_aside, write_json, written_aside
from drl_tf.core import noise
from drl_tf.core.guidance import UNCONDITIONAL, composed, guided
from drl_tf.data import image_files
from drl_tf.distributed import workers
from drl_tf.runs import pictures

DESCRIPTION = 'samples.json'
_MOST_IMAGES, _MOST_BYTES, _MOST_SHARDS = 1024, 2**26, 2**20


class _Shard(NamedTuple):
    """Where images `first`, `first` + 1, ... are."""

    path: str
    first: int
    count: int


def draw(
    model,
    directory,
    num_samples,
    seed,
    step,
    weights='ema',
    label=-1,
    compose=None,
    first=0,
    after_part=lambda: None,
):
    """Draws a set of samples into a directory, or what is missing or damaged of one that was begun; one run
    at a time.

    Each shard is written aside and renamed. `samples.json` says what decides the pixels; samples of anything
    else that are there are put aside, in `<directory>.1` and so on. Another batch size or number of replicas
    goes on with the same shards.

    Args:
      model: a `RecoveryLikelihood`; it samples on the replicas of the strategy that it was built under.
      directory: where `images-00000-of-00049.npz` and so on go, each with `images` (uint8 [n, H, W, C];
        points: float32), `first` and `seed`.
      num_samples: how many images.
      seed: an int; image i depends on (seed, i) alone, up to rounding.
      step: the training step of the model.
      weights: 'ema' or 'raw'.
      label, compose: as in `batches`.
      first: index of the first image.
      after_part: called after each part of the levels of a batch; what it raises ends the drawing, and the
        shards that are done stay.

    Returns:
      The states of the first images, [x_T, ..., x_0], each float32 [n, H, W, C], where they were drawn now;
      else None.

    Raises:
      UserError: another run draws there, or the samples are not finite.
    """
    settings = settings_of(model, num_samples, seed, step, weights, label, compose, first)
    trajectory, share = None, _share(model, num_samples)
    batch = share * model.distribute_strategy.num_replicas_in_sync
    with workers.held(directory):
        missing = [
            _Shard(*shard) for shard in workers.told_by_chief(lambda: _missing(directory, settings, batch))
        ]
        done = num_samples - sum(shard.count for shard in missing)
        with pictures.progress_bar(num_samples, 'sampling', done, silent=not workers.is_chief()) as bar:
            walked = pictures.in_whole_steps(bar)

            def show(count):
                walked(count)
                after_part()

            for shard in missing:
                images = []
                for part, states in _sampled(
                    model, share, shard.count, seed, weights, label, compose, shard.first, show
                ):
                    images.append(part)
                    trajectory = trajectory or (states if shard.first == first else None)
                workers.by_chief(functools.partial(_write, shard, images, seed))
    return trajectory and [
        model.distribute_strategy.experimental_local_results(state)[0] for state in trajectory
    ]


def batches(model, num_samples, seed, weights='ema', label=-1, compose=None, first=0) -> Iterator[np.ndarray]:
    """Draws images a batch at a time, a part of it on each replica; image i depends on (seed, i) alone, up to
    rounding.

    Args:
      model: a `RecoveryLikelihood`.
      num_samples: how many.
      seed: an int.
      weights: 'ema' or 'raw'.
      label: the class of all images, from 0; -1 takes the classes in turn. Only for models with classes.
      compose: None, or the pair (classes from 0, their weights) of a product of experts.
      first: index of the first image.

    Yields:
      uint8 [n, H, W, C]; points of the plane, which have no grey levels, float32.

    Raises:
      UserError: the samples are not finite.
    """
    for images, _ in _sampled(
        model, _share(model, num_samples), num_samples, seed, weights, label, compose, first
    ):
        yield images


def _share(model, num_samples):
    """How many images a replica draws at once: as few batches as may be, all of one size."""
    batches_needed = math.ceil(num_samples / model.config.sampling.sample_batch_size)
    return math.ceil(num_samples / (batches_needed * model.distribute_strategy.num_replicas_in_sync))


def _sampled(model, share, num_samples, seed, weights, label, compose, first, after_part=lambda count: None):
    """Yields the images of each batch, as `batches`, and its states, [x_T, ..., x_0], each with a part for
    each replica.

    After each part of the levels of a batch `after_part` is told to how many images the levels walked since
    the last call amount.
    """
    strategy, last = model.distribute_strategy, first + num_samples
    batch = share * strategy.num_replicas_in_sync
    for start in range(first, last, batch):
        firsts = list(range(start, start + batch, share))
        terms = _together(strategy, [terms_of(model.config, mine, share, label, compose) for mine in firsts])
        count, mine = min(batch, last - start), workers.of_each(strategy, firsts)

        def walked(levels, count=count):
            after_part(levels * count)

        states = model.sample(share, [seed, noise.SAMPLING], mine, weights, terms, strategy.run, walked)
        images = workers.gathered(strategy, states[-1])
        if not np.isfinite(images).all():
            raise UserError(
                'the samples are not finite: lower --step_scale, --noise_scale or --guidance, or use '
                'another checkpoint'
            )
        yield pictures.kept(images[: last - start]), states


def _together(strategy, parts):
    """The terms of all replicas in one structure: the weights are the same, the labels differ."""
    terms = [zip(*term, strict=True) for term in zip(*parts, strict=True)]
    return tuple(
        (None if labels[0] is None else workers.of_each(strategy, labels), weights[0])
        for labels, weights in terms
    )


def terms_of(config, first, count, label=-1, compose=None):
    """What is summed for images `first`, `first` + 1, ...; `label` and `compose` as in `batches`. See
    `model.guided`."""
    if compose:
        return composed([tf.fill([count], c + 1) for c in compose[0]], list(compose[1]))
    if config.data.num_classes:
        return guided(labels_in_turn(config, first, count, label), config.sampling.guidance)
    return UNCONDITIONAL


def labels_in_turn(config, first, count, label=-1):
    """Classes of images `first`, `first` + 1, ...: each in turn, or all of one class; int32 [count] from
    1."""
    if label >= 0:
        return tf.fill([count], label + 1)
    return tf.range(first, first + count) % config.data.num_classes + 1


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
        with open(path, encoding='utf-8') as file:
            described = json.load(file)
        _check_described(described)
        return described
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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


def _missing(directory, settings, batch):
    """The shards that are still to be drawn."""
    return [
        shard
        for shard in _shards(directory, _begun(directory, settings, batch))
        if not _is_sound(shard, settings)
    ]


def _write(shard, images, seed):
    with written_aside(shard.path, 'wb') as file:
        np.savez(file, images=np.concatenate(images), first=shard.first, seed=seed)


def _begun(directory, settings, batch):
    """What `samples.json` says once it says these settings; whatever else is there is put aside."""
    described = None
    if os.path.exists(os.path.join(directory, DESCRIPTION)):
        with contextlib.suppress(UserError):
            described = _describe(directory)
    if described and described['settings'] == settings:
        return described
    kept = put_aside(directory)
    if kept:
        changed = [
            name for name, value in settings.items() if described and described['settings'].get(name) != value
        ]
        reason = f'of other settings ({", ".join(changed)})' if changed else f'without a sound {DESCRIPTION}'
        logging.warning('%s held samples %s: they are now in %s', directory, reason, kept)
    most = min(_MOST_IMAGES, _MOST_BYTES // math.prod(settings['image_shape']))
    described = {'settings': settings, 'images_per_shard': batch * max(1, most // batch)}
    write_json(os.path.join(directory, DESCRIPTION), described)
    return described


def settings_of(model, num_samples, seed, step, weights, label=-1, compose=None, first=0):
    """All that decides the pixels of `draw`, as JSON has it."""
    config = model.config
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
        'step': step,
        'weights': weights,
        'weights_sha256': fingerprint(model, weights),
        'label': label,
        'compose': compose,
    }
    return json.loads(
        json.dumps({'seed': seed, 'first': first, 'num_samples': num_samples, **mine, **options})
    )


def fingerprint(model, weights):
    """SHA-256 of the weights in use; u follows from them."""
    digest = hashlib.sha256()
    for pair in model.averages:
        for variable in pair[('ema', 'raw').index(weights)].weights:
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
        _Shard(os.path.join(directory, name), start, min(size, last - start))
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
