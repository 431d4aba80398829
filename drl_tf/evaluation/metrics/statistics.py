"""Statistics of a set of images: mean and covariance of their features."""

import dataclasses
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import parse_json, written_aside
from drl_tf.data.indexed import random_places
from drl_tf.evaluation.metrics.extractors import INCEPTION_FEATURES, Extractor
from drl_tf.evaluation.metrics.moments import Moments

_AUTHORS = 'pool_3'  # The array in a file of activations by the authors of the paper.
MAX_BYTES = 2**32  # The largest file of statistics, unpacked.
# A pass is saved every SAVE_SECONDS, or more rarely: after SAVE_TIMES the time that the last save took.
SAVE_SECONDS = 60
SAVE_TIMES = 20
_ANOTHER = 'make it again with --mode=stats'


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of the features of a set of images.

    Attributes:
      mean: mean of the features, float64 [d].
      covariance: unbiased covariance of the features, float64 [d, d].
      count: number of images.
      features: features of the images, or of n of them, float32 [n, d]; n may be 0.
      extractor: name of the network that computed the features.
      extractor_hash: hash of the weights of this network; '' if unknown.
      resize: how images were resized for the network, as a text.
      images: description of the images, in words.
      fingerprint: the first 12 hexadecimal digits of the SHA-256 of all pixels.
      dataset, split: where the images come from; '': unknown.
      image_size, image_channels, image_width: shape of the images; a width of 0 means square; all 0: unknown.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int
    features: np.ndarray
    extractor: str
    extractor_hash: str
    resize: str
    images: str
    fingerprint: str = ''
    dataset: str = ''
    split: str = ''
    image_size: int = 0
    image_channels: int = 0
    image_width: int = 0

    def save(self, path: str) -> None:
        """Writes the statistics to a `.npz` file, for `load`."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arrays: dict[str, Any] = {key: one for key, one in fields.items() if isinstance(one, np.ndarray)}
        words = {name: value for name, value in fields.items() if name not in arrays}
        with written_aside(path, 'wb') as file:
            np.savez(file, description=json.dumps(words), **arrays)


class _Pass:
    """A pass over images that can be interrupted: its sums are saved to a file about every minute.

    Args:
      path: the file; None saves nothing.
      what: JSON value of all that decides the sums besides the images; a file with another value is ignored.
      kept: numbers of the images whose features are kept, in increasing order, int [k].
    """

    def __init__(self, path: str | None, what: Any, kept: np.ndarray):
        self.path = path
        self.what = json.dumps(what)
        self.kept = kept
        self.moments: Moments | None = None
        self.features: list[np.ndarray] = []
        self.logits: list[np.ndarray] = []
        self.digest = hashlib.sha256()
        self.resumed_count = 0
        self.resumed_digest = ''
        self.due = time.monotonic() + SAVE_SECONDS
        if path and os.path.exists(path):
            self._resume(path)

    @property
    def count(self) -> int:
        """Number of images seen so far."""
        return self.moments.count if self.moments else 0

    def _resume(self, path: str) -> None:
        """Reads the file of an interrupted pass, unless the file belongs to another pass or is damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file['what']) != self.what:
                    return
                moments = Moments(len(file['mean']))
                moments.count = int(file['count'])
                moments.mean = file['mean']
                moments.scatter = file['scatter']
                features = file['features']
                logits = file['logits']
                digest = str(file['digest'])
        except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
            logging.warning('%s is damaged (%s): beginning the pass again', path, one_line(error))
            return
        self.moments = moments
        self.features = [features]
        self.logits = [logits] if len(logits) else []
        self.resumed_count = moments.count
        self.resumed_digest = digest

    def new(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields images that an interrupted pass has not seen; raises UserError if seen images changed."""
        passed = 0
        for batch in batches:
            seen = max(0, self.resumed_count - passed)
            self.digest.update(np.ascontiguousarray(batch[:seen]).data)
            passed += len(batch)
            if seen and passed >= self.resumed_count and self.digest.hexdigest() != self.resumed_digest:
                self._refuse()
            if len(batch) > seen:
                self.digest.update(np.ascontiguousarray(batch[seen:]).data)
                yield batch[seen:]
        if passed < self.resumed_count:
            self._refuse()

    def _refuse(self) -> None:
        """Removes the file of the pass, and raises a UserError that says so."""
        assert self.path
        os.remove(self.path)
        raise UserError(
            f'{self.path} is of other images than there are now: it was removed, run the same command again'
        )

    def update(self, features: np.ndarray, logits: np.ndarray | None) -> None:
        """Adds a batch of features, and saves the file if a save is due."""
        self.moments = self.moments or Moments(features.shape[1])
        first, last = np.searchsorted(self.kept, [self.count, self.count + len(features)])
        self.features.append(features[self.kept[first:last] - self.count])
        self.moments.update(features)
        if logits is not None:
            self.logits.append(logits)
        if time.monotonic() > self.due:
            self.save()

    def save(self) -> None:
        """Writes the file, and decides when the next save is due."""
        if not self.path or not self.moments:
            return
        begin = time.monotonic()
        self.features = [np.concatenate(self.features)]
        self.logits = [np.concatenate(self.logits)] if self.logits else []
        with written_aside(self.path, 'wb') as file:
            np.savez(
                file,
                what=self.what,
                digest=self.digest.hexdigest(),
                count=self.moments.count,
                mean=self.moments.mean,
                scatter=self.moments.scatter,
                features=self.features[0],
                logits=self.logits[0] if self.logits else np.zeros([0, 0]),
            )
        now = time.monotonic()
        self.due = now + max(SAVE_SECONDS, SAVE_TIMES * (now - begin))


def summarise(
    extractor: Extractor,
    batches: Iterable[np.ndarray],
    images: str,
    keep: int = 0,
    classify: bool = False,
    part: str | None = None,
    total: int = 0,
) -> tuple[Statistics, np.ndarray | None]:
    """Computes the statistics of images that come in batches.

    Args:
      extractor: the network that gives the features.
      batches: batches of images, uint8 [n, H, W, C] each.
      images: description of the images, in words.
      keep: the result contains the features of so many images: of the first ones, or of random ones.
      classify: whether to return the logits of all images too.
      part: a file for intermediate results, from which an interrupted call continues; None: no file.
      total: number of all images, to choose those to keep at random, with a fixed seed; 0: keep the first.

    Returns:
      A pair: the statistics; and the logits of all N images, float32 [N, classes]. The logits are None if
      `classify` is False, or the network has none.

    Raises:
      UserError: under 2 images; a feature is not finite; or the images changed after an interruption.
    """
    what = [images, extractor.name, extractor.weights_hash, extractor.resize, keep, classify]
    random_of = [total] if total > keep > 0 else []
    seen = _Pass(part, [*what, *random_of], random_places(keep, max([keep, *random_of])))
    for batch in seen.new(batches):
        features, logits = extractor.run(batch)
        seen.update(features, logits if classify else None)
    if seen.moments is None or seen.count < 2:
        raise UserError(f'{images}: {seen.count} images are too few for statistics: give at least 2')
    if seen.count > seen.resumed_count:
        seen.save()
    statistics = Statistics(
        mean=seen.moments.mean,
        covariance=seen.moments.covariance,
        count=seen.count,
        features=np.concatenate(seen.features),
        extractor=extractor.name,
        extractor_hash=extractor.weights_hash,
        resize=extractor.resize,
        images=images,
        fingerprint=seen.digest.hexdigest()[:12],
    )
    return statistics, np.concatenate(seen.logits) if seen.logits else None


def load(path: str, extractor: Extractor) -> Statistics:
    """Reads statistics of real images from a file.

    Args:
      path: a file that `Statistics.save` wrote; or a `.npz` file with features of N images by the standard
        Inception network in the array `pool_3`, float [N, 2048].
      extractor: the network from which the features in the file must come.

    Raises:
      UserError: the file is missing or damaged, or its features come from another network.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError(f'more than {MAX_BYTES:,} bytes')
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
        raise UserError(f'--stats_file={path} cannot be read ({one_line(error)}): {_ANOTHER}') from error
    if _AUTHORS in arrays:
        return _of_activations(path, arrays[_AUTHORS], extractor)
    try:
        statistics = Statistics(**parse_json(str(arrays.pop('description'))), **arrays)
        _check(statistics)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f'--stats_file={path} holds no statistics ({one_line(error)}): {_ANOTHER}') from error
    theirs = f'{statistics.extractor} ({statistics.extractor_hash}, {statistics.resize})'
    mine = f'{extractor.name} ({extractor.weights_hash}, {extractor.resize})'
    if theirs != mine:
        raise UserError(
            f'--stats_file={path} is of the extractor {theirs}, the scores are of {mine}: {_ANOTHER} and '
            'this extractor'
        )
    return statistics


def _check(statistics: Statistics) -> None:
    """Raises ValueError or AttributeError if no set of images can have these statistics."""
    covariance = statistics.covariance
    arrays = (statistics.mean, covariance, statistics.features)
    width = statistics.mean.size
    if [array.shape for array in arrays] != [(width,), (width, width), (len(statistics.features), width)]:
        shapes = ', '.join(str(list(array.shape)) for array in arrays)
        raise ValueError(f'mean, covariance and features have shapes {shapes}')
    if not all(array.dtype.kind == 'f' and np.isfinite(array).all() for array in arrays):
        raise ValueError('mean, covariance and features are not all finite numbers')
    if not np.allclose(covariance, covariance.T) or (np.diag(covariance) < 0).any():
        raise ValueError('covariance is not symmetric, or has a negative diagonal')
    if type(statistics.count) is not int or statistics.count < max(2, len(statistics.features)):
        raise ValueError(f'count is {statistics.count}')
    fields = {field.name: field.type for field in dataclasses.fields(statistics) if field.type in (str, int)}
    if not all(type(getattr(statistics, name)) is kind for name, kind in fields.items()):
        raise ValueError(f'not all of {", ".join(fields)} are of the right type')


def _of_activations(path: str, activations: np.ndarray, extractor: Extractor) -> Statistics:
    """Computes statistics of activations [N, 2048] of the standard Inception, whose file names no network."""
    if extractor.inception != 'standard':
        raise UserError(
            f'--stats_file={path} holds activations of Inception, the scores are of {extractor.name}: '
            f'{_ANOTHER}'
        )
    has_features = activations.ndim == 2 and activations.shape[1] == INCEPTION_FEATURES
    if not has_features or activations.dtype.kind != 'f' or len(activations) < 2:
        raise UserError(
            f'--stats_file={path} holds {_AUTHORS} of {activations.dtype} {list(activations.shape)}, not '
            f'float [N, {INCEPTION_FEATURES}]'
        )
    if not np.isfinite(activations).all():
        raise UserError(f'--stats_file={path} holds {_AUTHORS} that are not all finite: {_ANOTHER}')
    unstated = dataclasses.replace(extractor, weights_hash='', run=lambda features: (features, None))
    images = f'{_AUTHORS} in {path}, which does not name its network'
    return summarise(unstated, [activations], images, len(activations))[0]
