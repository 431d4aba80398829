"""Scores images with a trained model, to find anomalies (--mode=score)."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base.files import digest, write_json, written_aside
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.data import dataset_table, facts, indexed, pipeline
from drl_tf.editing import inputs, report
from drl_tf.experiments import score_pictures
from drl_tf.experiments.scored_images import TYPICAL_IMAGES, load, scored
from drl_tf.runs import samples
from drl_tf.runs.scores import Scores

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.runs.scoring import Scoring

FAR = 3.0  # An image with a larger typicality counts as anomalous.


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which images --mode=score scores, and where to write the result.

    Attributes:
      images: 'test' (the test split), or the path of a picture, a directory of pictures, or an array file.
      output_dir: directory for the results; '': `<workdir>/scores`.
      save_images: whether to write a PNG file for each image, a map of its unlikely pixels.
      resize: whether to crop and resize pictures; without it, they must have the size of the model's images.
    """

    images: str = inputs.TEST
    output_dir: str = ''
    save_images: bool = False
    resize: bool = False


def score(
    config: Config, workdir: str, plan: Plan, weights: Weights = Weights.EMA, step: int | None = None
) -> dict[str, str]:
    """Scores images, and writes a table (CSV), a histogram, a contact sheet and maps of unlikely pixels.

    The typicality of an image is the distance of its energy at one noise level (`EnergyModel.scoring_level`)
    from the mean over up to 1,000 training images, in standard deviations. Images are ranked by it: rank 1 is
    the most typical image. An image with a typicality above 3 counts as anomalous. The histogram compares the
    images with the test split. If the images are the test split themselves, it compares them with training
    images.

    Args:
      config: the configuration. Its option `num_real` is the largest number of images of a split.
      workdir: directory of the run, or of an exported model.
      plan: which images to score, and where to write.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}: the number of images and of anomalous ones, the names of the least
      typical images, and the directory of the files.

    Raises:
      UserError: there are no images, an image is damaged or has another size, the dataset or the checkpoint
        is missing, or an energy is not finite.
    """
    limit = config.evaluation.num_real or None
    count = limit if plan.images == inputs.TEST else None
    images = inputs.load(config, plan.images, count, config.image_shape, plan.resize)
    names = _names(config, plan.images, len(images))
    train = pipeline.load_images(config.data, 'train', min(TYPICAL_IMAGES, limit or TYPICAL_IMAGES))
    test = None if plan.images == inputs.TEST else pipeline.load_images(config.data, 'test', limit)
    scoring, step = load(config, workdir, weights, step)
    typical = scored(scoring, train, 'training images').scoring_energy
    table = _Table(names, scored(scoring, images, 'images'), float(typical.mean()), float(typical.std()))
    sets = {'training images': typical}
    if test is not None:
        sets = {'test split': scored(scoring, test, 'test split').scoring_energy}
    name = f'{step:08d}-{weights}-{_name(plan.images)}{_of_options(config, workdir, plan, step)}'
    directory = os.path.join(plan.output_dir or os.path.join(workdir, 'scores'), name)
    table.write(os.path.join(directory, 'scores.csv'))
    sets = {'images': table.scores.scoring_energy, **sets}
    _draw(scoring, directory, images, table, sets, plan.save_images)
    source = {'step': step, 'weights': weights, 'weights_sha256': samples.fingerprint(scoring.model, weights)}
    return _summarise(directory, table, plan, source)


def _names(config: Config, source: str, count: int) -> list[str]:
    """Returns a name for each of the first `count` images of `source`; a path for pictures of a folder."""
    data = dataset_table.resolve(config.data)
    if source == inputs.TEST and dataset_table.find_spec(data.dataset).source in facts.OPEN:
        return indexed.load(data, 'test').names(count)
    return inputs.names(source, count)


def _name(path: str) -> str:
    """Returns a name for results: 'test', or the last part of the images' path with a hash of the path."""
    if path == inputs.TEST:
        return inputs.TEST
    return f'{os.path.basename(os.path.abspath(path))}-{digest(os.path.abspath(path))}'


def _of_options(config: Config, workdir: str, plan: Plan, step: int) -> str:
    """Returns the end of a name for results: a hash of the model and of the options; '' if all is usual.

    Results of another model in one directory, or with other options, thus do not overwrite each other.
    """
    usual = configuration.Config()
    decides: dict[str, Any] = report.of_model(workdir, plan.output_dir, step)
    if config.evaluation.num_real != usual.evaluation.num_real:
        decides |= {'num_real': config.evaluation.num_real}
    if config.sampling.sampling_levels != usual.sampling.sampling_levels:
        decides |= {'sampling_levels': config.sampling.sampling_levels}
    return f'-{digest(json.dumps(decides))}' if decides else ''


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """The content of `scores.csv`: names and scores of n images.

    Attributes:
      names: name of each image.
      scores: scores of the images.
      mean: mean energy of training images at the noise level that compares images, `scores.scoring_level`.
      std: standard deviation of these energies.
    """

    names: list[str]
    scores: Scores
    mean: float
    std: float

    @property
    def order(self) -> np.ndarray:
        """Indices of the images from the most to the least typical, int [n]."""
        return np.argsort(self.typicality, kind='stable')

    @property
    def typicality(self) -> np.ndarray:
        """How atypical each image is, |energy - mean| / std at the scoring level, float64 [n]."""
        return np.abs(self.scores.scoring_energy - self.mean) / self.std

    def columns(self) -> dict[str, list]:
        """Returns the columns of the table, {name: list of n values}.

        The names are 'image', 'rank', 'typicality', and for each score, such as 'energy' and 'gradient',
        first 'energy_all' over all noise levels, then 'energy_0' and so on at each level. If log Z is known,
        'log_prob' and 'bits_per_dim' are among the scores.
        """
        scores = self.scores
        ranks = np.empty(len(self.names), int)
        ranks[self.order] = np.arange(1, len(self.names) + 1)
        by_level = {'energy': scores.energy, 'gradient': scores.gradient}
        if scores.log_prob is not None and scores.bits_per_dim is not None:
            by_level |= {'log_prob': scores.log_prob, 'bits_per_dim': scores.bits_per_dim}
        columns: dict[str, list] = {'image': self.names, 'rank': ranks.tolist()}
        columns['typicality'] = self.typicality.tolist()
        for name, values in by_level.items():
            total = scores.total_gradient if name == 'gradient' else values.sum(axis=1)
            columns[f'{name}_all'] = total.tolist()
        for name, values in by_level.items():
            for column, level in enumerate(scores.levels):
                columns[f'{name}_{level}'] = values[:, column].tolist()
        return columns

    def write(self, path: str) -> None:
        """Writes the table as a CSV file, a row for each image."""
        columns = self.columns()
        with written_aside(path) as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                writer.writerow([f'{value:.6g}' if isinstance(value, float) else value for value in row])


def _draw(
    scoring: Scoring,
    directory: str,
    images: np.ndarray,
    table: _Table,
    sets: dict[str, np.ndarray],
    save_images: bool,
) -> None:
    """Writes histogram, contact sheet and maps of the images of a table."""
    score_pictures.histogram(os.path.join(directory, 'histogram.png'), sets)
    score_pictures.sheet(
        os.path.join(directory, 'sheet.png'), images[table.order], -table.scores.scoring_energy[table.order]
    )
    worst = table.order[::-1][: score_pictures.ROWS]
    names = [table.names[index] for index in worst]
    maps = scoring.anomaly_scores(images[worst])
    score_pictures.panel(os.path.join(directory, 'maps.png'), images[worst], maps, names)
    if save_images:
        score_pictures.save_maps(os.path.join(directory, 'maps'), table.scores.total_map)


def _summarise(directory: str, table: _Table, plan: Plan, source: Mapping[str, Any]) -> dict[str, str]:
    """Writes `summary.json`, which says how the table was made; returns {label: text} to print.

    `source` tells which weights made it, {name: JSON value}.
    """
    far = int((table.typicality > FAR).sum())
    worst = [table.names[index] for index in table.order[::-1][:5]]
    result = {
        **source,
        'images': plan.images,
        'num_images': len(table.names),
        'levels': table.scores.levels.tolist(),
        'scoring_level': table.scores.scoring_level,
        'typical_mean': table.mean,
        'typical_std': table.std,
        'anomalous': far,
        'median_typicality': float(np.median(table.typicality)),
    }
    write_json(os.path.join(directory, 'summary.json'), result)
    found = {
        'images': f'{len(table.names):,}, of which {far:,} are more than {FAR:g} deviations from typical',
        'least typical': ', '.join(worst),
    }
    if table.scores.log_prob is None:
        found['note'] = 'log densities need --mode=likelihood --method=direct first; the CSV has energies'
    return {**found, 'scores': directory}
