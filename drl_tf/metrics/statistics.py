"""What scores need to know of the real images: mean and covariance of their features, and the features where they are kept."""

import dataclasses
import json
import zipfile

import numpy as np

from drl_tf.errors import UserError, one_line
from drl_tf.files import written_aside
from drl_tf.metrics.moments import Moments

_AUTHORS = 'pool_3'
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
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f'--stats_file={path} cannot be read ({one_line(error)}): {_ANOTHER}') from error
    if _AUTHORS in arrays:
        return _of_activations(path, arrays[_AUTHORS], extractor)
    try:
        statistics = Statistics(**json.loads(str(arrays.pop('description'))), **arrays)
        shapes = statistics.mean.shape * 2, statistics.covariance.shape, statistics.mean.shape
        if shapes[0] != shapes[1] or statistics.features.shape[1:] != shapes[2]:
            raise ValueError(f'mean, covariance and features of shapes {statistics.mean.shape}, {shapes[1]}, {statistics.features.shape}')
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f'--stats_file={path} holds no statistics ({one_line(error)}): {_ANOTHER}') from error
    theirs, mine = (statistics.extractor, statistics.extractor_hash), (extractor.name, extractor.weights_hash)
    if theirs != mine or statistics.resize != extractor.resize:
        raise UserError(
            f'--stats_file={path} is of the extractor {theirs[0]} ({theirs[1]}, {statistics.resize}), the scores are of {mine[0]} '
            f'({mine[1]}, {extractor.resize}): {_ANOTHER} and this extractor'
        )
    return statistics


def _of_activations(path, activations, extractor):
    """Statistics of Inception's activations [N, 2048] in a file that does not say more."""
    if not extractor.inception:
        raise UserError(f'--stats_file={path} holds activations of Inception, the scores are of {extractor.name}: {_ANOTHER}')
    if activations.ndim != 2 or activations.dtype.kind != 'f' or len(activations) < 2:
        raise UserError(f'--stats_file={path} holds {_AUTHORS} of {activations.dtype} {list(activations.shape)}, not float [N, 2048]')
    unstated = dataclasses.replace(extractor, weights_hash='', run=lambda features: (features, None))
    return summarise(unstated, [activations], path, len(activations))[0]
