"""What scores need to know of the real images: mean and covariance of their features, and the features where they are kept."""

import dataclasses
import json
import zipfile

import numpy as np

from drl_tf.errors import UserError, one_line
from drl_tf.files import written_aside
from drl_tf.metrics.moments import Moments

_AUTHORS = 'pool_3'
_MAX_BYTES = 2**32
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
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int
    features: np.ndarray
    extractor: str
    extractor_hash: str
    resize: str
    images: str

    def save(self, path):
        """Writes a `.npz` file, aside and renamed."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        words = {name: value for name, value in fields.items() if name not in arrays}
        with written_aside(path, 'wb') as file:
            np.savez(file, description=json.dumps(words), **arrays)


def summarise(extractor, batches, images, keep=0):
    """Statistics of images in one pass.

    Args:
      extractor: an `extractors.Extractor`.
      batches: iterable of uint8 [n, H, W, C].
      images: what the images are, in words.
      keep: of how many images, from the first, features are kept.

    Returns:
      The `Statistics`, and the logits of all images, float32 [N, classes], or None.

    Raises:
      UserError: there are fewer than 2 images, or a feature is not finite.
    """
    moments, kept, logits = None, [], []
    for batch in batches:
        features, scores = extractor.run(batch)
        moments = moments or Moments(features.shape[1])
        kept.append(features[: max(0, keep - moments.count)])
        moments.update(features)
        logits.append(scores)
    if not moments or moments.count < 2:
        raise UserError(f'{images}: {moments.count if moments else 0} images are too few for statistics: give at least 2')
    statistics = Statistics(
        moments.mean, moments.covariance, moments.count, np.concatenate(kept),
        extractor.name, extractor.weights_hash, extractor.resize, images,
    )  # fmt: skip
    return statistics, None if logits[0] is None else np.concatenate(logits)


def load(path, extractor):
    """Reads statistics of real images.

    Args:
      path: a file of `Statistics.save`, or a `.npz` file with the activations `pool_3` [N, 2048], as the authors of the paper have.
      extractor: the `extractors.Extractor` that they must be of.

    Raises:
      UserError: there is no such file, or it is damaged, or of another extractor.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
                raise ValueError(f'more than {_MAX_BYTES:,} bytes')
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
            f'--stats_file={path} is of the extractor {theirs[0]} ({theirs[1]}, {statistics.resize}), the scores are of {mine[0]} '
            f'({mine[1]}, {extractor.resize}): {_ANOTHER} and this extractor'
        )
    return statistics


def _check(statistics):
    """Raises ValueError for what no statistics are."""
    arrays = statistics.mean, statistics.covariance, statistics.features
    width = statistics.mean.size
    if [array.shape for array in arrays] != [(width,), (width, width), (len(arrays[2]), width)]:
        raise ValueError(f'mean, covariance and features of shapes {", ".join(str(list(array.shape)) for array in arrays)}')
    if not all(array.dtype.kind == 'f' and np.isfinite(array).all() for array in arrays):
        raise ValueError('mean, covariance and features are not all finite numbers')
    if not np.allclose(statistics.covariance, statistics.covariance.T) or (np.diag(statistics.covariance) < 0).any():
        raise ValueError('covariance is none')
    if type(statistics.count) is not int or statistics.count < max(2, len(statistics.features)):
        raise ValueError(f'count is {statistics.count}')
    if not all(isinstance(word, str) for word in (statistics.extractor, statistics.extractor_hash, statistics.resize, statistics.images)):
        raise ValueError('a word is none')


def _of_activations(path, activations, extractor):
    """Statistics of Inception's activations [N, 2048] in a file that does not say more."""
    if not extractor.inception:
        raise UserError(f'--stats_file={path} holds activations of Inception, the scores are of {extractor.name}: {_ANOTHER}')
    if activations.ndim != 2 or activations.dtype.kind != 'f' or len(activations) < 2:
        raise UserError(f'--stats_file={path} holds {_AUTHORS} of {activations.dtype} {list(activations.shape)}, not float [N, 2048]')
    unstated = dataclasses.replace(extractor, weights_hash='', run=lambda features: (features, None))
    return summarise(unstated, [activations], path, len(activations))[0]
