"""Compares images with real ones: the extractor, the statistics of the real images, the scores."""

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
from drl_tf.data import pipeline
from drl_tf.distributed import devices, spread, workers
from drl_tf.evaluation.metrics import extractors, statistics
from drl_tf.evaluation.metrics import score as scoring
from drl_tf.evaluation.metrics.frechet import frechet_distance_from_moments
from drl_tf.runs import pictures
from drl_tf.runs.request import SampleRequest

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.config.options import Data
    from drl_tf.evaluation.metrics.extractors import Extractor
    from drl_tf.evaluation.metrics.statistics import Statistics

_SPLITS = ('train', 'test')
loaded: dict[tuple, Extractor] = {}  # The last extractor, by the options and files that decide it.


class Evaluator:
    """Compares images with the real ones of a dataset.

    With several workers, all create it and call its methods together: the chief reads the images and gets the
    scores, and the replicas of all workers run the extractor.

    Args:
      config: the configuration. Its evaluation options name the extractor, and can name a file of statistics
        of the real images. Without that file, the real images are the first `num_real` of the training split,
        and `floor` describes the test split if that has more images than there are features.
      parts: a directory for the state of the pass over the real images, from which it continues after an
        interruption.
      changed: a callable that changes the real images, from an iterable of batches, uint8 [n, H, W, C], to
        another; it describes the change in its attribute `words`. None for no change.
      workdir: a run's directory, which keeps that state for the next evaluation; None for none.

    Attributes:
      extractor: the network that gives the features.
      real, floor: statistics of the real images, and of held-out ones or None; only on the chief.
      name: the key of the Fréchet distance in the scores.

    Raises:
      UserError: the extractor, the statistics or the dataset are missing or do not fit together.

    Example:
      evaluator = Evaluator(config, 'parts')
      scores = evaluator.score(batches, num_samples=2048)
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
        """Statistics of the real images, and of held-out ones or None."""
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
        """Only the Fréchet distance, of batches uint8 [n, H, W, C]."""

        def measure() -> float:
            found, _ = statistics.summarise(self.extractor, batches, 'the states')
            return frechet_distance_from_moments(
                self.real.mean, self.real.covariance, found.mean, found.covariance
            )

        return self._led(measure)

    def score(
        self,
        batches: Iterable[np.ndarray],
        num_samples: int,
        labelled: bool = False,
        part: str | None = None,
    ) -> dict[str, Any]:
        """Scores images against the real ones.

        Args:
          batches: uint8 [n, H, W, C] each.
          num_samples: number of images.
          labelled: whether the images come class by class in turn (0, 1, ..), so that agreement is measured.
          part: a file for the state of the pass, to continue from after an interruption; None for none.

        Returns:
          The dict of `metrics.score.score`.
        """
        data = self.config.data
        labels = None
        if labelled and data.num_classes and data.dataset in self.extractor.datasets:
            labels = SampleRequest(num_samples).classes(data.num_classes)
        return self._led(lambda: scoring.score(self.extractor, batches, self.real, self.floor, labels, part))


@contextlib.contextmanager
def _kept_features(parts: str, kept: str) -> Iterator[None]:
    """Context manager: moves the state of passes over real images from `kept` to `parts`, and back.

    A move gives each process its own. A pass ignores a file of other images or another extractor.
    """
    _move_features(kept, parts)
    try:
        yield
    finally:
        _move_features(parts, kept, replace=True)


def _move_features(source: str, target: str, replace: bool = False) -> None:
    """Moves the state of passes over real images; files that the target has stay unless `replace`."""
    patterns = [os.path.join(glob.escape(source), f'{split}-*.npz') for split in _SPLITS]
    paths = [path for pattern in patterns for path in glob.glob(pattern)]
    for path in paths:
        moved = os.path.join(target, os.path.basename(path))
        if replace or not os.path.exists(moved):
            os.makedirs(target, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # Another process was faster.
                os.replace(path, moved)


def spread_extractor(config: Config) -> tuple[Extractor, Callable[[Callable[[], Any]], Any]]:
    """The extractor, run by all workers together, and the function that has the chief lead them.

    Within `led(function)` the chief runs `function`, and the others compute the features that it asks for.
    """
    extractor = workers.everywhere(lambda: _load_extractor(config))
    workers.check_alike({'extractor': f'{extractor.name} ({extractor.weights_hash}, {extractor.resize})'})
    spread_out = spread.OverWorkers(extractor.run)
    return dataclasses.replace(extractor, run=spread_out.run), spread_out.led


def summarise(
    config: Config, extractor: Extractor, split: str, keep: int, part: str, changed: Any = None
) -> Statistics:
    """Statistics of the first `num_real` images of a split.

    `keep` and `part` are those of `metrics.statistics.summarise`, `changed` that of `Evaluator`.
    """
    data = config.data
    limit = config.evaluation.num_real or None
    count = pipeline.count_images(data, split)
    total = min(limit or count, count)
    words = f'the first {total:,} images of the {split} split of {_name(data)} at {data.image_size} px'
    batches = pictures.progress(pipeline.image_batches(data, split, limit), total, 'real images')
    if changed:
        words = f'{words}, {changed.words}'
        batches = changed(batches)
    found, _ = statistics.summarise(extractor, batches, words, keep, part=part)
    return dataclasses.replace(
        found,
        dataset=_name(data),
        split=split,
        image_size=data.image_size,
        image_channels=data.image_channels,
    )


def _name(data: Data) -> str:
    """The dataset's name; for a folder with its path."""
    return f'folder {os.path.abspath(data.data_dir)}' if data.dataset == 'folder' else data.dataset


def _load_statistics(config: Config, extractor: Extractor) -> Statistics:
    """Reads `stats_file`; raises UserError if its images have another size or number of channels."""
    path = config.evaluation.stats_file
    found = statistics.load(path, extractor)
    theirs = (found.image_size, found.image_channels)
    mine = (config.data.image_size, config.data.image_channels)
    if theirs not in (mine, (0, 0)):
        what = f'{theirs[0]} px and {theirs[1]} channels, the scores are of {mine[0]} px and {mine[1]}'
        raise UserError(f'--stats_file={path} is of {found.images}, {what}: make it again with --mode=stats')
    return found


def _load_extractor(config: Config) -> Extractor:
    """The extractor of a configuration, cached: the checks before the work and the work load it only once."""
    options = config.evaluation
    paths = [path for path in (options.extractor, options.inception) if os.path.exists(path)]
    contents = [extractors.contents_hash(path) for path in paths]
    key = (config.data, options.extractor, options.inception, *contents, devices.strategy())
    if key not in loaded:
        loaded.clear()
        loaded[key] = extractors.load(config.data, options.extractor, options.inception)
    return loaded[key]


def check_scored(config: Config, num_samples: int, with_statistics: bool = True) -> None:
    """Raises UserError if there are too few images, or the extractor or the statistics do not fit."""
    if num_samples < 2:
        raise UserError(f'--num_samples={num_samples} must be at least 2 to evaluate')
    extractor = _load_extractor(config)
    if config.evaluation.stats_file and with_statistics:
        _load_statistics(config, extractor)


def check_extractor(config: Config) -> None:
    """Raises UserError if the requested extractor does not fit; does not load one by default."""
    options = config.evaluation
    if options.extractor or options.inception:
        _load_extractor(config)
