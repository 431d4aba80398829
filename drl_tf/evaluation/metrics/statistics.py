"""What scores need to know of the real images: mean and covariance of their features, and the features where
they are kept."""

import dataclasses
import hashlib
import json
import os
import time
import zipfile

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import written_aside
from drl_tf.evaluation.metrics.extractors import INCEPTION_FEATURES
from drl_tf.evaluation.metrics.moments import Moments

_AUTHORS = 'pool_3'
MAX_BYTES = 2**32
SAVE_SECONDS, SAVE_TIMES = 60, 20
_ANOTHER = 'make it anew with --mode=stats'


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Features of a set of images, summed up.

    Attributes:
      mean: float64 [d].
      covariance: unbiased, float64 [d, d].
      count: number of images.
      features: float32 [n, d] of the first n images; n = 0 where none were kept.
      extractor: name of the network.
      extractor_hash: of its weights; '' where the file does not say.
      resize: how images got the network's size.
      images: what the images are, in words.
      fingerprint: the first 12 hexadecimal digits of the SHA-256 of their pixels.
      dataset, split, image_size, image_channels: of the images; '' and 0 where that is not known.
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

    def save(self, path):
        """Writes a `.npz` file, aside and renamed."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        words = {name: value for name, value in fields.items() if name not in arrays}
        with written_aside(path, 'wb') as file:
            np.savez(file, description=json.dumps(words), **arrays)


class _Pass:
    """What was seen of some images, kept in a file from minute to minute: an interruption costs no more than
    that.

    Args:
      path: of the file; None keeps nothing.
      what: all that the sums depend on besides the images; a file of anything else is passed over.
      keep: of how many images features are kept.
    """

    def __init__(self, path, what, keep):
        self.path, self.what, self.keep = path, json.dumps(what), keep
        self.moments, self.features, self.logits, self.due = None, [], [], time.monotonic() + SAVE_SECONDS
        self.digest, self.taken_up, self.digest_taken_up = hashlib.sha256(), 0, ''
        if path and os.path.exists(path):
            self._take_up()

    @property
    def count(self):
        return self.moments.count if self.moments else 0

    def _take_up(self):
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file['what']) != self.what:
                    return
                moments = Moments(len(file['mean']))
                moments.count, moments.mean, moments.scatter = (
                    int(file['count']),
                    file['mean'],
                    file['scatter'],
                )
                features, logits, digest = file['features'], file['logits'], str(file['digest'])
        except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
            logging.warning(
                '%s is damaged (%s): the pass over the images begins anew', self.path, one_line(error)
            )
            return
        self.moments, self.features, self.logits = moments, [features], [logits] if len(logits) else []
        self.taken_up, self.digest_taken_up = moments.count, digest

    def new(self, batches):
        """Yields what was not seen before; raises UserError if the images that were seen have changed, or
        some of them are gone."""
        passed = 0
        for batch in batches:
            seen = max(0, self.taken_up - passed)
            self.digest.update(np.ascontiguousarray(batch[:seen]))
            passed += len(batch)
            if seen and passed >= self.taken_up and self.digest.hexdigest() != self.digest_taken_up:
                self._refuse()
            if len(batch) > seen:
                self.digest.update(np.ascontiguousarray(batch[seen:]))
                yield batch[seen:]
        if passed < self.taken_up:
            self._refuse()

    def _refuse(self):
        """Removes the file, and raises the UserError that says so."""
        os.remove(self.path)
        raise UserError(
            f'{self.path} is of other images than there are now: it is removed, run the same command again'
        )

    def update(self, features, logits):
        self.moments = self.moments or Moments(features.shape[1])
        if self.count < self.keep or not self.features:
            self.features.append(features[: max(0, self.keep - self.count)].copy())
        self.moments.update(features)
        if logits is not None:
            self.logits.append(logits)
        if time.monotonic() > self.due:
            self.save()

    def save(self):
        """Writes the file; the next time is due when that has taken a small part of the time since."""
        if not self.path:
            return
        begin, self.features = time.monotonic(), [np.concatenate(self.features)]
        self.logits = [np.concatenate(self.logits)] if self.logits else []
        logits = self.logits[0] if self.logits else np.zeros([0, 0])
        moments = self.moments
        arrays = dict(
            count=moments.count,
            mean=moments.mean,
            scatter=moments.scatter,
            features=self.features[0],
            logits=logits,
        )
        with written_aside(self.path, 'wb') as file:
            np.savez(file, what=self.what, digest=self.digest.hexdigest(), **arrays)
        now = time.monotonic()
        self.due = now + max(SAVE_SECONDS, SAVE_TIMES * (now - begin))


def summarise(extractor, batches, images, keep=0, classify=False, part=None):
    """Statistics of images in one pass, whose memory grows with nothing but the features and logits that are
    kept.

    Args:
      extractor: an `extractors.Extractor`.
      batches: iterable of uint8 [n, H, W, C].
      images: what the images are, in words.
      keep: of how many images, from the first, features are kept.
      classify: whether logits are kept, of all images.
      part: a file that holds what was seen, every minute and at the end; a pass that was interrupted goes on
        with it. None: none.

    Returns:
      The `Statistics`, and the logits, float32 [N, classes], or None.

    Raises:
      UserError: there are fewer than 2 images, a feature is not finite, or the images are others than before
        an interruption.
    """
    seen = _Pass(
        part, [images, extractor.name, extractor.weights_hash, extractor.resize, keep, classify], keep
    )
    for batch in seen.new(batches):
        features, logits = extractor.run(batch)
        seen.update(features, logits if classify else None)
    if seen.count < 2:
        raise UserError(f'{images}: {seen.count} images are too few for statistics: give at least 2')
    if seen.count > seen.taken_up:
        seen.save()
    statistics = Statistics(
        seen.moments.mean, seen.moments.covariance, seen.count, np.concatenate(seen.features),
        extractor.name, extractor.weights_hash, extractor.resize, images, seen.digest.hexdigest()[:12],
    )  # fmt: skip
    return statistics, np.concatenate(seen.logits) if seen.logits else None


def load(path, extractor):
    """Reads statistics of real images.

    Args:
      path: a file of `Statistics.save`, or a `.npz` file with the activations `pool_3` [N, 2048], as the
        authors of the paper have.
      extractor: the `extractors.Extractor` that they must be of.

    Raises:
      UserError: there is no such file, or it is damaged, or of another extractor.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError(f'more than {MAX_BYTES:,} bytes')
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
        raise UserError(f'--stats_file={path} cannot be read ({one_line(error)}): {_ANOTHER}') from error
    if _AUTHORS in arrays:
        return _of_activations(path, arrays[_AUTHORS], extractor)
    try:
        statistics = Statistics(**json.loads(str(arrays.pop('description'))), **arrays)
        _check(statistics)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f'--stats_file={path} holds no statistics ({one_line(error)}): {_ANOTHER}') from error
    theirs, mine = (statistics.extractor, statistics.extractor_hash), (extractor.name, extractor.weights_hash)
    if theirs != mine or statistics.resize != extractor.resize:
        raise UserError(
            f'--stats_file={path} is of the extractor {theirs[0]} ({theirs[1]}, {statistics.resize}), the '
            f'scores are of {mine[0]} '
            f'({mine[1]}, {extractor.resize}): {_ANOTHER} and this extractor'
        )
    return statistics


def _check(statistics):
    """Raises ValueError for what no statistics are."""
    arrays = statistics.mean, statistics.covariance, statistics.features
    width = statistics.mean.size
    if [array.shape for array in arrays] != [(width,), (width, width), (len(arrays[2]), width)]:
        raise ValueError(
            f'mean, covariance and features of shapes {", ".join(str(list(array.shape)) for array in arrays)}'
        )
    if not all(array.dtype.kind == 'f' and np.isfinite(array).all() for array in arrays):
        raise ValueError('mean, covariance and features are not all finite numbers')
    if (
        not np.allclose(statistics.covariance, statistics.covariance.T)
        or (np.diag(statistics.covariance) < 0).any()
    ):
        raise ValueError('covariance is none')
    if type(statistics.count) is not int or statistics.count < max(2, len(statistics.features)):
        raise ValueError(f'count is {statistics.count}')
    fields = {field.name: field.type for field in dataclasses.fields(statistics) if field.type in (str, int)}
    if not all(type(getattr(statistics, name)) is kind for name, kind in fields.items()):
        raise ValueError(f'not all of {", ".join(fields)} are of their kind')


def _of_activations(path, activations, extractor):
    """Statistics of the standard Inception's activations [N, 2048] in a file that does not say more."""
    if extractor.inception != 'standard':
        raise UserError(
            f'--stats_file={path} holds activations of Inception, the scores are of {extractor.name}: '
            f'{_ANOTHER}'
        )
    if (
        activations.ndim != 2
        or activations.dtype.kind != 'f'
        or activations.shape[1] != INCEPTION_FEATURES
        or len(activations) < 2
    ):
        raise UserError(
            f'--stats_file={path} holds {_AUTHORS} of {activations.dtype} {list(activations.shape)}, not '
            f'float [N, {INCEPTION_FEATURES}]'
        )
    if not np.isfinite(activations).all():
        raise UserError(f'--stats_file={path} holds {_AUTHORS} that are not all finite: {_ANOTHER}')
    unstated = dataclasses.replace(extractor, weights_hash='', run=lambda features: (features, None))
    return summarise(
        unstated, [activations], f'{_AUTHORS} in {path}, which does not name its network', len(activations)
    )[0]
