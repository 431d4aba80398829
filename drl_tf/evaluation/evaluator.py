"""Holds images against real ones: the extractor, the statistics of the real images, and scores."""

import contextlib
import dataclasses
import glob
import os

from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.data import pipeline
from drl_tf.distributed import devices, spread, workers
from drl_tf.evaluation.metrics import extractors, statistics
from drl_tf.evaluation.metrics import score as scoring
from drl_tf.evaluation.metrics.frechet import frechet_distance_from_moments
from drl_tf.runs import pictures
from drl_tf.runs.request import SampleRequest

_SPLITS = ('train', 'test')
loaded = {}  # The last extractor, by what decides it.


class Evaluator:
    """Holds images against the real ones of a dataset. Where it is made by all workers they also call its
    methods together.

    The chief reads the images and has the scores; the others, and all replicas, take parts of the images
    through the extractor.

    Args:
      config: a `Config`; its evaluation options name the extractor and, maybe, the file of statistics of the
        real images, which otherwise are the first `num_real` of the training split. The floor is that of the
        test split, if it has more images than there are features.
      parts: a directory for what was seen of the real images, with which an interrupted pass over them goes
        on.
      changed: what is done to the real images, a callable on an iterable of batches, uint8 [n, H, W, C], that
        says what in its `words`; None leaves them.
      workdir: the directory of a run, which keeps what was seen of the real images for its next evaluation.

    Raises:
      UserError: the extractor, the statistics or the dataset are not there or do not fit.
    """

    def __init__(self, config, parts, changed=None, workdir=None):
        self.config = config
        self.extractor, self._led = spread_extractor(config)
        self.real = self.floor = None
        self.name = scoring.names(self.extractor)['frechet']

        def look():
            with _kept_features(parts, os.path.join(workdir, 'evaluation', 'parts') if workdir else parts):
                self.real, self.floor = self._real(parts, changed)

        self._led(look)

    def _real(self, parts, changed):
        """Statistics of the real images, and of held-out ones or None."""
        config = self.config
        if config.evaluation.stats_file:
            real, wanted = _load_statistics(config, self.extractor), _name(config.data)
            if (real.dataset or wanted, real.split or 'train') != (wanted, 'train'):
                logging.warning('the scores are against %s, not the train split of %s', real.images, wanted)
            return real, None
        parts = {split: os.path.join(parts, f'{split}-{self.extractor.name}.npz') for split in _SPLITS}
        real = summarise(config, self.extractor, 'train', scoring.KEPT_FEATURES, parts['train'], changed)
        if pipeline.count_images(config.data, 'test') <= len(real.mean):
            return real, None
        return real, summarise(config, self.extractor, 'test', 0, parts['test'], changed)

    def distance(self, batches):
        """The Fréchet distance alone, of an iterable of uint8 [n, H, W, C]."""

        def measure():
            found, _ = statistics.summarise(self.extractor, batches, 'the states')
            return frechet_distance_from_moments(
                self.real.mean, self.real.covariance, found.mean, found.covariance
            )

        return self._led(measure)

    def score(self, batches, num_samples, labelled=False, part=None):
        """`metrics.score.score` of images.

        Args:
          batches: iterable of uint8 [n, H, W, C].
          num_samples: how many images there are.
          labelled: whether the classes of the model take turns in them.
          part: a file for what was seen of them, with which an interrupted pass goes on.
        """
        labelled = (
            labelled and self.config.data.dataset in self.extractor.datasets and self.config.data.num_classes
        )
        labels = SampleRequest(num_samples).classes(self.config.data.num_classes) if labelled else None
        return self._led(lambda: scoring.score(self.extractor, batches, self.real, self.floor, labels, part))


@contextlib.contextmanager
def _kept_features(parts, kept):
    """What was seen of real images, which another directory keeps, is in `parts` within the block.

    It is moved, so that each process has its own. A file of other images or another extractor is passed over.
    """
    _move_features(kept, parts)
    try:
        yield
    finally:
        _move_features(parts, kept, replace=True)


def _move_features(source, target, replace=False):
    """Moves what was seen of real images, but for files that the target has already."""
    patterns = [os.path.join(glob.escape(source), f'{split}-*.npz') for split in _SPLITS]
    for path in [path for pattern in patterns for path in glob.glob(pattern)]:
        moved = os.path.join(target, os.path.basename(path))
        if replace or not os.path.exists(moved):
            os.makedirs(target, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # Another process was faster.
                os.replace(path, moved)


def spread_extractor(config):
    """The extractor, with which all workers take features of parts of the images, and what has them do so."""
    extractor = workers.everywhere(lambda: _load_extractor(config))
    workers.check_alike({'extractor': f'{extractor.name} ({extractor.weights_hash}, {extractor.resize})'})
    spread_out = spread.OverWorkers(extractor.run)
    return dataclasses.replace(extractor, run=spread_out.run), spread_out.led


def summarise(config, extractor, split, keep, part, changed=None):
    """`Statistics` of the first `num_real` images of a split.

    `keep` and `part` as in `metrics.statistics.summarise`, `changed` as in `Evaluator`.
    """
    data, limit = config.data, config.evaluation.num_real or None
    total = pipeline.count_images(data, split)
    total = min(limit or total, total)
    words = f'the first {total:,} images of the {split} split of {_name(data)} at {data.image_size} px'
    batches = pictures.progress(pipeline.image_batches(data, split, limit), total, 'real images')
    if changed:
        words, batches = f'{words}, {changed.words}', changed(batches)
    found, _ = statistics.summarise(extractor, batches, words, keep, part=part)
    size, channels = data.image_size, data.image_channels
    return dataclasses.replace(
        found, dataset=_name(data), split=split, image_size=size, image_channels=channels
    )


def _name(data):
    """A dataset, and of a folder where it is."""
    return f'folder {os.path.abspath(data.data_dir)}' if data.dataset == 'folder' else data.dataset


def _load_statistics(config, extractor):
    """The statistics of `stats_file`, if they are of images of the same size and channels."""
    found, data, path = (
        statistics.load(config.evaluation.stats_file, extractor),
        config.data,
        config.evaluation.stats_file,
    )
    theirs, mine = ((each.image_size, each.image_channels) for each in (found, data))
    if theirs != mine and theirs != (0, 0):
        what = f'{theirs[0]} px and {theirs[1]} channels, the scores are of {mine[0]} px and {mine[1]}'
        raise UserError(f'--stats_file={path} is of {found.images}, {what}: make it anew with --mode=stats')
    return found


def _load_extractor(config):
    """The extractor of a configuration. The last one is kept, so that what checks it before the work and what
    takes features with it load it once."""
    options = config.evaluation
    paths = [path for path in (options.extractor, options.inception) if os.path.exists(path)]
    contents = [extractors.contents_hash(path) for path in paths]
    key = (config.data, options.extractor, options.inception, *contents, devices.strategy())
    if key not in loaded:
        loaded.clear()
        loaded[key] = extractors.load(config.data, options.extractor, options.inception)
    return loaded[key]


def check_scored(config, num_samples, with_statistics=True):
    """Raises UserError where the extractor or the statistics do not apply, or for too few images."""
    if num_samples < 2:
        raise UserError(f'--num_samples={num_samples} must be at least 2 to evaluate')
    extractor = _load_extractor(config)
    if config.evaluation.stats_file and with_statistics:
        _load_statistics(config, extractor)


def check_extractor(config):
    """Raises UserError where the extractor that was asked for does not apply; one that nobody asked for may
    be missing."""
    options = config.evaluation
    if options.extractor or options.inception:
        _load_extractor(config)
