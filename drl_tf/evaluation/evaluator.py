"""Compares generated images with the real images of a dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.data import dataset_table, facts, pipeline
from drl_tf.data.known_datasets import PLACED
from drl_tf.distributed import devices, spread, workers
from drl_tf.evaluation.metrics import extractors, statistics
from drl_tf.evaluation.metrics import score as scoring
from drl_tf.evaluation.metrics.frechet import frechet_distance_from_moments
from drl_tf.runs import pictures

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.config.data_options import Data
    from drl_tf.evaluation.metrics.extractors import Extractor
    from drl_tf.evaluation.metrics.statistics import Statistics
    from drl_tf.runs.request import SampleRequest

_SPLITS = ('train', 'test')
loaded: dict[tuple, Extractor] = {}  # One entry: {options and file hashes: extractor}.


class Evaluator:
    """Scores generated images against the real images of a dataset.

    Images are compared by their features, which a network, the extractor, computes. With several workers, all
    must create the evaluator and call its methods together. The chief (the first worker) reads the images and
    gets the scores; the devices of all workers compute features.

    Args:
      config: the configuration. The option `extractor` names the network; `stats_file` names a file with
        statistics of the real images. Without this file, the real images are the first `num_real` images of
        the training split, or of the user's own data as many random ones.
      parts: a directory for intermediate results, from which an interrupted evaluation continues.
      changed: a function that changes the real images before they are used. It gets an iterable of batches,
        uint8 [n, H, W, C], and returns an iterable of changed batches. It needs an attribute `words`, a text
        that is added to the description of the real images. None: no change.
      workdir: a run's directory, which keeps features of the real images for the next evaluation; None: they
        are not kept.

    Attributes:
      extractor: the network that gives the features.
      real: statistics of the real images; None on workers other than the chief.
      floor: statistics of the test split. Their distance from `real` is about what a perfect generator would
        reach. None if `stats_file` is given, if the test split is too small, and on workers other than the
        chief.
      name: the key of the Fréchet distance in the scores, such as 'fid'.

    Raises:
      UserError: the extractor, the statistics or the dataset are missing or do not fit together.

    Example:
      evaluator = Evaluator(config, 'parts')
      scores = evaluator.score(batches, total=2048)
    """

    def __init__(self, config: Config, parts: str, changed: Any = None, workdir: str | None = None):
        self.config = config
        self.extractor, self._led = spread_extractor(config)
        self.real: Any = None
        self.floor: Statistics | None = None
        self.name = scoring.names(self.extractor)['frechet']
        kept = os.path.join(workdir, 'evaluation', 'parts') if workdir else parts

        def look() -> None:
            with _kept_features(parts, kept):
                self.real, self.floor = self._real(parts, changed)

        self._led(look)

    def _real(self, parts: str, changed: Any) -> tuple[Statistics, Statistics | None]:
        """Returns statistics of the real images, and statistics of the test split or None."""
        config = self.config
        if config.evaluation.stats_file:
            real = _load_statistics(config, self.extractor)
            wanted = _name(config.data)
            if (real.dataset or wanted, real.split or 'train') != (wanted, 'train'):
                logging.warning('the scores are against %s, not the train split of %s', real.images, wanted)
            return real, None
        part = {split: os.path.join(parts, f'{split}-{self.extractor.name}.npz') for split in _SPLITS}
        real = summarise(config, self.extractor, 'train', scoring.KEPT_FEATURES, part['train'], changed)
        if pipeline.count_images(config.data, 'test') <= len(real.mean):
            return real, None
        return real, summarise(config, self.extractor, 'test', 0, part['test'], changed)

    def distance(self, batches: Iterable[np.ndarray]) -> float:
        """Computes the Fréchet distance between the features of given images and of the real images.

        Args:
          batches: batches of images, uint8 [n, H, W, C] each.

        Returns:
          The distance; None on workers other than the chief.
        """

        def measure() -> float:
            found, _ = statistics.summarise(self.extractor, batches, 'the states')
            return frechet_distance_from_moments(
                self.real.mean, self.real.covariance, found.mean, found.covariance
            )

        return self._led(measure)

    def score(
        self,
        batches: Iterable[np.ndarray],
        request: SampleRequest | None = None,
        total: int = 0,
        part: str | None = None,
    ) -> dict[str, Any]:
        """Scores images against the real images.

        Args:
          batches: batches of images, uint8 [n, H, W, C] each.
          request: what was drawn. If the extractor predicts its classes, the scores contain
            'class_agreement': the share of images that the extractor assigns to the class with which they
            were drawn. None: the images come from elsewhere; they may be ordered by class, so scores of a
            part take a random part.
          total: number of images in all batches, where `request` is None.
          part: a file for intermediate results, from which an interrupted call continues; None: no file.

        Returns:
          A dict of scores, or None on workers other than the chief. The key of the Fréchet distance is the
          attribute `name` of this object. Other scores, such as 'precision' and 'recall', are missing for
          fewer than 20 images, or if the file `stats_file` has no features.
        """
        data = self.config.data
        labels = None
        if request and data.num_classes and data.dataset in self.extractor.datasets:
            labels = request.classes(data.num_classes)
        return self._led(
            lambda: scoring.score(self.extractor, batches, self.real, self.floor, labels, part, total)
        )


@contextlib.contextmanager
def _kept_features(parts: str, kept: str) -> Iterator[None]:
    """Context manager: moves the state of passes over real images from `kept` to `parts`, and back.

    Moving, rather than copying, gives each process a state of its own. A pass ignores a file that is about
    other images or another extractor.
    """
    _move_features(kept, parts)
    try:
        yield
    finally:
        _move_features(parts, kept, replace=True)


def _move_features(source: str, target: str, replace: bool = False) -> None:
    """Moves the state of passes over real images; overwrites files in the target only if `replace`."""
    patterns = [os.path.join(glob.escape(source), f'{split}-*.npz') for split in _SPLITS]
    paths = [path for pattern in patterns for path in glob.glob(pattern)]
    for path in paths:
        moved = os.path.join(target, os.path.basename(path))
        if replace or not os.path.exists(moved):
            os.makedirs(target, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # Another process was faster.
                os.replace(path, moved)


def spread_extractor(config: Config) -> tuple[Extractor, Callable[[Callable[[], Any]], Any]]:
    """Loads the extractor (the network that computes features) so that all workers share its work.

    Args:
      config: the configuration, which names the extractor.

    Returns:
      (extractor, led). `led` is a callable, and its argument is a function without arguments. All workers
      must call `led(function)` together, but only the chief (the first worker) runs `function`. Whenever
      `function` calls `extractor.run`, each worker computes a part of the features. `led` returns the result
      of `function` on the chief, and None on the other workers.
    """
    extractor = workers.everywhere(lambda: load_extractor(config))
    workers.check_alike({'extractor': f'{extractor.name} ({extractor.weights_hash}, {extractor.resize})'})
    spread_out = spread.OverWorkers(extractor.run)
    return dataclasses.replace(extractor, run=spread_out.run), spread_out.led


def summarise(
    config: Config, extractor: Extractor, split: str, keep: int, part: str, changed: Any = None
) -> Statistics:
    """Computes mean and covariance of the features of real images of a split.

    Args:
      config: the configuration; its option `num_real` is the number of images (0: all images of the split).
      extractor: the network that computes features.
      split: 'train' or 'test'.
      keep: number of images, chosen at random, whose features the result contains too.
      part: a file for intermediate results, from which an interrupted call continues.
      changed: a function that changes the images. It gets an iterable of batches, uint8 [n, H, W, C], and
        returns an iterable of changed batches. It needs an attribute `words`, a text that is added to the
        description of the images. None: no change.

    Returns:
      Mean and covariance of the features, the features of `keep` of the images, and a description of the
      images.
    """
    data = config.data
    limit = config.evaluation.num_real or None
    count = pipeline.count_images(data, split)
    total = min(limit or count, count)
    is_random = total < count and dataset_table.find_spec(data.dataset).source in facts.OPEN
    which = f'{total:,} random images of' if is_random else f'the first {total:,} images of'
    words = f'{which} the {split} split of {_name(data)} at {_size(data)} px'
    batches = pictures.progress(pipeline.image_batches(data, split, limit), total, 'real images')
    if changed:
        words = f'{words}, {changed.words}'
        batches = changed(batches)
    found, _ = statistics.summarise(extractor, batches, words, keep, part=part, total=total)
    return dataclasses.replace(
        found,
        dataset=_name(data),
        split=split,
        image_size=data.image_size,
        image_channels=data.image_channels,
        image_width=data.image_width,
    )


def _name(data: Data) -> str:
    """Returns the name of a dataset, with the path if the files are the user's own."""
    is_placed = data.dataset in PLACED
    return f'{data.dataset} {os.path.abspath(data.data_dir)}' if is_placed else data.dataset


def _size(shown: Data | Statistics) -> str:
    """Returns the size of images in pixels, such as '32' or, height before width, '32 x 48'."""
    size = str(shown.image_size)
    return f'{size} x {shown.image_width}' if shown.image_width else size


def _load_statistics(config: Config, extractor: Extractor) -> Statistics:
    """Reads `stats_file`; raises UserError if it is about images of another size or number of channels."""
    path = config.evaluation.stats_file
    found = statistics.load(path, extractor)
    theirs = (_size(found), found.image_channels)
    mine = (_size(config.data), config.data.image_channels)
    if theirs not in (mine, ('0', 0)):
        what = f'{theirs[0]} px and {theirs[1]} channels, the scores are of {mine[0]} px and {mine[1]}'
        raise UserError(f'--stats_file={path} is of {found.images}, {what}: make it again with --mode=stats')
    return found


def load_extractor(config: Config) -> Extractor:
    """Loads the extractor: the network by whose features images are compared.

    A second call in a row with the same options returns the same network, without loading it again.

    Args:
      config: the configuration. Its option `extractor` names the network ('': the default for the dataset);
        the option `inception` is the directory of the network Inception ('': from TF-Hub).
    """
    options = config.evaluation
    paths = [path for path in (options.extractor, options.inception) if os.path.exists(path)]
    contents = [extractors.contents_hash(path) for path in paths]
    key = (config.data, options.extractor, options.inception, *contents, devices.strategy())
    if key not in loaded:
        loaded.clear()
        loaded[key] = extractors.load(config.data, options.extractor, options.inception)
    return loaded[key]


def check_scored(config: Config, num_samples: int, with_statistics: bool = True) -> None:
    """Checks the options of an evaluation, so that wrong ones are reported before samples are drawn.

    Args:
      config: the configuration.
      num_samples: number of samples to score.
      with_statistics: whether to check the file of statistics too, which the option `stats_file` names.

    Raises:
      UserError: there are fewer than 2 samples; the network that computes features is missing or does not fit
        the dataset; or the statistics in `stats_file` are missing or do not fit the dataset.
    """
    if num_samples < 2:
        raise UserError(f'--num_samples={num_samples} must be at least 2 to evaluate')
    extractor = load_extractor(config)
    if config.evaluation.stats_file and with_statistics:
        _load_statistics(config, extractor)


def check_extractor(config: Config) -> None:
    """Raises UserError if the network of --extractor or --inception is missing or unfit for the dataset."""
    options = config.evaluation
    if options.extractor or options.inception:
        load_extractor(config)
