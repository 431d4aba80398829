"""Measures how well scores of a model detect out-of-distribution images (--mode=ood)."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base.files import digest, write_json
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline
from drl_tf.editing import report
from drl_tf.evaluation import baselines, evaluator
from drl_tf.evaluation.detectors import detectors
from drl_tf.evaluation.metrics.detection import detection
from drl_tf.experiments import ood_report, other_sets, set_names
from drl_tf.experiments.scored_images import TYPICAL_IMAGES, load, scored
from drl_tf.runs import pictures, samples

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.evaluation.metrics.extractors import Extractor

_FEATURES = 10_000  # Training images at most to which the Gaussian of features is fitted.


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which sets of images --mode=ood compares with the test split, and where to write the result.

    Attributes:
      sets: names of the other sets: 'folder:DIR' for images in a directory, the name of a dataset, or a set
        that is made, such as 'noise' or 'letters'. `other_sets.load` explains these sets.
      background: directory or name of a second model. One of the scores is the log density of the first model
        minus that of the second. '': none.
      output_dir: directory for the files; '': `<workdir>/ood`.
      resize: whether to crop and resize the pictures of 'folder:DIR'.
    """

    sets: tuple[str, ...]
    background: str = ''
    output_dir: str = ''
    resize: bool = False


def ood(
    config: Config, workdir: str, plan: Plan, weights: Weights = Weights.EMA, step: int | None = None
) -> dict[str, str]:
    """Compares the test split with other sets of images by several scores, and writes a table.

    These scores of an image come from the model. In them, log p is the image's log density at a single noise
    level, the attribute `scoring_level` of the model:

    - log p; the log density at noise level 0; and the sum of the log densities at all levels.
    - typicality: the distance of log p from its mean over training images (Nalisnick et al. 2019).
    - the norm of the gradient of the log densities at all levels (Grathwohl et al. 2020).
    - log p plus the size of the image as a PNG file (Serrà et al. 2020).
    - with `plan.background`: log p minus the log density of the background model (Ren et al. 2019).

    Two baselines need no energy-based model: the Mahalanobis distance of the features of the image from those
    of training images (Lee et al. 2018), and the distance of its PNG size from the mean over training images.

    Args:
      config: the configuration. Its option `num_real` is the largest number of images of each set.
      workdir: directory of the run, or of an exported model.
      plan: which sets to compare, and where to write.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}: the AUROCs for each set, and the paths of the files.

    Raises:
      UserError: a dataset, a folder, the checkpoint or the network that computes features is missing, an
        image is damaged or has another size, or an energy is not finite.
    """
    limit = config.evaluation.num_real or None
    images = {'real': pipeline.load_images(config.data, 'test', limit)}
    images |= other_sets.load(plan.sets, config, images['real'], limit, plan.resize)
    train = pipeline.load_images(config.data, 'train', min(_FEATURES, limit or _FEATURES))
    typical = pipeline.load_images(config.data, 'train', min(TYPICAL_IMAGES, limit or TYPICAL_IMAGES))
    extractor = evaluator.load_extractor(config)  # First, because the download may fail.
    found, source = _of_model(config, workdir, plan, weights, step, images, typical)
    for name, score in _of_baselines(extractor, train, typical).items():
        for kind, mine in images.items():
            found[kind][name] = score(mine)
    _add_ratio_to_png(found, images)
    result = {
        **source,
        'seed': config.training.seed,
        'background': plan.background,
        'extractor': extractor.name,
        'num_training_images': len(train),
        'sets': _compare(found, config.training.seed),
    }
    of_model = report.of_model(workdir, plan.output_dir, result['step'])
    name = _name(result, config, of_model)
    stem = os.path.join(plan.output_dir or os.path.join(workdir, 'ood'), name)
    write_json(f'{stem}.json', result)
    return {**ood_report.figures(result), **ood_report.write(stem, result)}


def _of_model(config, workdir, plan, weights, step, images, train):
    """Returns the scores of the model, {set: {score: float64 [n]}}, and its source, {name: JSON value}.

    The source tells the step of the checkpoint, and which weights it has. With a background model, the ratio
    to it is one of the scores.
    """
    scoring, step = load(config, workdir, weights, step)
    typical = scored(scoring, train, 'train').scoring_energy.mean()
    found = {}
    for kind, mine in images.items():
        found[kind] = detectors(scored(scoring, mine, kind), typical)
    if plan.background:
        directory, its_config = set_names.background_of(plan.background, config)
        size = config.sampling.sample_batch_size
        background, _ = load(its_config.replace(sample_batch_size=size), directory, Weights.EMA, None)
        for kind, mine in images.items():
            other = scored(background, mine, f'{kind}, background')
            found[kind]['ratio_to_background'] = found[kind]['scoring_level'] + other.scoring_energy
    sha256 = samples.fingerprint(scoring.model, weights)
    return found, {'step': step, 'weights': weights, 'weights_sha256': sha256}


def _of_baselines(
    extractor: Extractor, train: np.ndarray, typical: np.ndarray
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Returns the baselines, {score: callable, uint8 [n, H, W, C] -> float64 [n]}.

    The Gaussian of features is fitted to the images `train`; `typical` gives the mean PNG size.
    """
    distance = baselines.mahalanobis(extractor.run(train)[0])
    mean_bits = baselines.png_bits(typical).mean()
    return {
        'mahalanobis': lambda images: -distance(extractor.run(images)[0]),
        'png_size': lambda images: -np.abs(baselines.png_bits(images) - mean_bits),
    }


def _add_ratio_to_png(found: Mapping[str, dict[str, np.ndarray]], images: Mapping[str, np.ndarray]) -> None:
    """Adds 'ratio_to_png': log p at the scoring level, plus the size of the PNG file in bits times log 2."""
    for kind, mine in images.items():
        bits = baselines.png_bits(mine)
        found[kind]['ratio_to_png'] = found[kind]['scoring_level'] + bits * math.log(2)


def _compare(found: Mapping[str, Mapping[str, np.ndarray]], seed: int) -> dict[str, dict[str, Any]]:
    """Compares each set with the real images; returns {set: {score: result of `detection`}}."""
    real = found['real']
    sets = {kind: scores for kind, scores in found.items() if kind != 'real'}
    result: dict[str, dict[str, Any]] = {kind: {} for kind in sets}
    with pictures.progress_bar(len(real) * len(sets), 'intervals', unit=' scores') as bar:
        for kind, scores in sets.items():
            for name, values in scores.items():
                result[kind][name] = detection(real[name], values, seed)
                bar.update(1)
    return result


def _name(result: Mapping[str, Any], config: Config, of_model: Mapping[str, str]) -> str:
    """Returns a file name with the step of the checkpoint and a hash of what decides the table."""
    decides: Sequence[Any] = [
        sorted(result['sets']),
        *(result[name] for name in ('seed', 'background', 'extractor')),
        config.evaluation.num_real,
        config.sampling.sampling_levels,
        *of_model.values(),
    ]
    return f'{result["step"]:08d}-{result["weights"]}-{digest(json.dumps(decides))}'
