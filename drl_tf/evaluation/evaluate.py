"""Scores samples of a trained model, or images that another program made."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from drl_tf.base.files import digest, held, write_json
from drl_tf.config import chains
from drl_tf.distributed import chief, devices
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.evaluation.figures import figures, over_seeds
from drl_tf.planning import flops
from drl_tf.runs import chain_report, checkpoint, drawing, pictures, samples
from drl_tf.runs.naming import file_stem, short

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.runs.request import SampleRequest


def evaluate(
    config: Config, workdir: str, request: SampleRequest, seeds: Sequence[int] = ()
) -> dict[str, str]:
    """Draws samples of a trained model, scores them, and writes the scores as JSON.

    The samples stay on disk. After an interruption, the same call continues the evaluation where it stopped.

    Args:
      config: the configuration to sample and score with.
      workdir: the run's directory.
      request: what to draw for each seed: number of samples, weights, classes.
      seeds: seeds of the sampling; empty: only the seed of `request`. Several seeds give means and standard
        deviations of the scores.

    Returns:
      Lines to print, {label: text}: the main scores, and the path of the JSON file.

    Raises:
      UserError: there is no undamaged checkpoint; or the network that computes features, the statistics of
        real images or the dataset are missing or do not fit together.

    Example:
      evaluate(config, 'runs/digits', SampleRequest.of(config, 2048), seeds=(0, 1, 2))
    """
    seeds = seeds or (request.seed,)
    with devices.strategy().scope():
        model, step = checkpoint.load_model(workdir, config, request.step)
    requests = [dataclasses.replace(request, seed=seed, step=step) for seed in seeds]
    stem = file_stem(config, workdir, requests[0]) + _more(seeds)
    path = os.path.join(workdir, 'evaluation', stem)
    results: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    with chief.entered(_resumable(path, config)) as parts:
        evaluator = Evaluator(config, parts, workdir=workdir)

        @chief.only
        def finish() -> dict[str, str]:
            source = {
                'step': step,
                'weights': request.weights,
                'weights_sha256': samples.fingerprint(model, request.weights),
            }
            moved = chain_report.mean(reports)
            written = _result_file(path, evaluator)
            result = over_seeds(seeds, results)
            write_json(written, {**source, **_settings(config), **moved, **result})
            return {**figures(evaluator, result), **chain_report.said(moved), 'evaluation': written}

        for mine in requests:
            root = os.path.join(workdir, 'samples', file_stem(config, workdir, mine))
            drawing.draw(model, root, mine)
            reports.append(chief.only(chain_report.read)(root))
            drawn = pictures.progress(samples.read(root, config.image_shape), mine.count, 'scoring')
            part = f'{parts}/samples-seed{mine.seed}.npz'
            results.append(evaluator.score(drawn, mine, part=part))
        return finish()


def _settings(config: Config) -> dict[str, Any]:
    """Returns how a configuration draws samples, {name: JSON value}."""
    return {
        **chains.levels_of(config),
        'mcmc_steps': config.diffusion.mcmc_steps,
        **dataclasses.asdict(config.sampling),
        'corrector': config.corrector,
        'gradients_per_image': flops.gradients(config),
    }


def evaluate_samples(config: Config, path: str) -> dict[str, str]:
    """Scores images that another program made, and writes the scores as JSON beside the images.

    Args:
      config: the configuration; its dataset gives the real images and the image size.
      path: a directory of pictures, a directory that --mode=sample wrote, or a `.npz` or `.npy` file.

    Returns:
      Lines to print, {label: text}: the main scores, and the path of the JSON file.

    Raises:
      UserError: an image is damaged or of another size; or the network that computes features, the statistics
        of real images or the dataset are missing or do not fit together.
    """
    count = chief.only(check_samples)(config, path)
    path = os.path.abspath(path)
    with chief.entered(_resumable(path, config)) as parts:
        evaluator = Evaluator(config, parts)
        drawn = pictures.progress(samples.read(path, config.image_shape), count, 'scoring')
        result = evaluator.score(drawn, total=count, part=f'{parts}/samples.npz')

        @chief.only
        def finish() -> dict[str, str]:
            written = _result_file(path, evaluator)
            write_json(written, {'samples': path, **result})
            return {**figures(evaluator, result), 'evaluation': written}

        return finish()


def check_samples(config: Config, path: str) -> int:
    """Checks that a path holds images to score, and returns their number.

    Args:
      config: the configuration, which has the image shape.
      path: a directory of pictures, a directory that --mode=sample wrote, or a `.npz` or `.npy` file.

    Raises:
      UserError: there are no images, or the first image has another shape.
    """
    samples.first_images(path, config.image_shape, 1)
    return samples.count(path)


def _result_file(path: str, evaluator: Evaluator) -> str:
    """Returns the path of the JSON file of scores: `path`, and what the images are compared with."""
    directory, name = os.path.split(path)
    return os.path.join(directory, short(f'{name}-{against(evaluator)}') + '.json')


@contextlib.contextmanager
def _resumable(path: str, config: Config) -> Iterator[str]:
    """Context manager: makes and yields a directory beside `path` for the state of an evaluation.

    The directory is locked for this process. The context manager removes it after the evaluation, and after
    an interruption if it holds no state.
    """
    options = json.dumps([dataclasses.asdict(config.data), dataclasses.asdict(config.evaluation)])
    parts = f'{path}.{digest(options)}.parts'
    with held(parts, 'extractor or other samples'):
        try:
            yield parts
        except BaseException:
            if glob.glob(os.path.join(glob.escape(parts), '*.npz')):
                raise
            shutil.rmtree(parts)
            raise
        shutil.rmtree(parts)


def _more(seeds: Sequence[int]) -> str:
    """Returns the part of an evaluation's name that lists several seeds; '' for a single seed."""
    listed = '-'.join(map(str, seeds))
    if '-' not in listed:
        return ''
    return f'-seeds{listed if len(listed) < 40 else digest(listed)}'


def against(evaluator: Evaluator) -> str:
    """Returns a text that tells what samples are compared with, to use in the name of a file of scores.

    Scores are comparable only if this text is the same. With several workers, only the chief (the first
    worker) can call this function, because only the chief knows the real images.

    Args:
      evaluator: the evaluator that computes the scores.

    Returns:
      '<name of the network that computes features>-<hash of the network and the real images>'.
    """
    extractor = evaluator.extractor
    real = evaluator.real
    decides = [extractor.weights_hash, real.extractor_hash, real.images, real.fingerprint]
    return f'{extractor.name}-{digest(json.dumps(decides))}'
