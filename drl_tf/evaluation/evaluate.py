"""Scores of a trained model, or of images made elsewhere, and statistics of real images to hold them
against."""

import contextlib
import dataclasses
import glob
import json
import os
import shutil

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.base.files import check_writable, digest, held, write_json
from drl_tf.data import pipeline
from drl_tf.distributed import devices, spread, workers
from drl_tf.evaluation.metrics import extractors, statistics
from drl_tf.evaluation.metrics import score as scoring
from drl_tf.evaluation.metrics.frechet import frechet_distance_from_moments
from drl_tf.runs import checkpoint, drawing, pictures, samples
from drl_tf.runs.naming import file_stem
from drl_tf.runs.request import SampleRequest

_TITLES = {'fid': 'FID', 'kid': 'KID', 'inception_score': 'Inception score'}


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

    Raises:
      UserError: the extractor, the statistics or the dataset are not there or do not fit.
    """

    def __init__(self, config, parts, changed=None):
        self.config = config
        self.extractor, self._led = _extractor(config)
        self.real = self.floor = None
        self.name = scoring.names(self.extractor)['frechet']

        def look():
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
        parts = {
            split: os.path.join(parts, f'{split}-{self.extractor.name}.npz') for split in ('train', 'test')
        }
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


def evaluate(config, workdir, request, seeds=()):
    """Scores samples of a trained model; written as JSON too. The samples stay, so that an interrupted
    evaluation goes on.

    All replicas of all workers draw, and take the features of the images.

    Args:
      config: a `Config`.
      workdir: the directory of the run.
      request: a `SampleRequest`: what to draw for each seed.
      seeds: of the sampling; several give means and deviations. That of the request where empty.

    Returns:
      The figures, as {label: text}, to the chief; None to other workers.

    Raises:
      UserError: as `Evaluator`, or there is no sound checkpoint.
    """
    seeds = seeds or (request.seed,)
    with devices.strategy().scope():
        model, step = checkpoint.load_model(workdir, config, request.step)
    requests = [dataclasses.replace(request, seed=seed, step=step) for seed in seeds]
    stem = file_stem(config, workdir, requests[0]) + _more(seeds)
    path, results = os.path.join(workdir, 'evaluation', stem), []
    with workers.entered_by_chief(_resumable(path, config)) as parts:
        evaluator = Evaluator(config, parts)

        def finish():
            settings = {'mcmc_steps': config.diffusion.mcmc_steps, **dataclasses.asdict(config.sampling)}
            written, result = f'{path}-{_against(evaluator)}.json', _over_seeds(seeds, results)
            write_json(written, {'step': step, 'weights': request.weights, **settings, **result})
            return {**figures(evaluator, result), 'evaluation': written}

        for mine in requests:
            root = os.path.join(workdir, 'samples', file_stem(config, workdir, mine))
            drawing.draw(model, root, mine)
            drawn = pictures.progress(samples.read(root, config.image_shape), mine.count, 'scoring')
            part = f'{parts}/samples-seed{mine.seed}.npz'
            results.append(evaluator.score(drawn, mine.count, labelled=True, part=part))
        return workers.by_chief(finish)


def evaluate_samples(config, path):
    """Scores images that were made elsewhere: a directory of pictures or of shards, or a `.npz` or
    `.npy` file.

    Args:
      config: a `Config`; its dataset is what they are held against, its image size is theirs.
      path: where they are; the scores are written beside it.

    Returns:
      The figures, as {label: text}, to the chief; None to other workers.

    Raises:
      UserError: as `Evaluator`, or an image is broken or of another size.
    """
    count, path = workers.told_by_chief(lambda: check_samples(config, path)), os.path.abspath(path)
    with workers.entered_by_chief(_resumable(path, config)) as parts:
        evaluator = Evaluator(config, parts)
        drawn = pictures.progress(samples.read(path, config.image_shape), count, 'scoring')
        result = evaluator.score(drawn, count, part=f'{parts}/samples.npz')

        def finish():
            written = f'{path}-{_against(evaluator)}.json'
            write_json(written, {'samples': path, **result})
            return {**figures(evaluator, result), 'evaluation': written}

        return workers.by_chief(finish)


def check_samples(config, path):
    """How many images there are; raises UserError where there are none, or the first is of another size than
    the dataset's."""
    samples.first_images(path, config.image_shape, 1)
    return samples.count(path)


@contextlib.contextmanager
def _resumable(path, config):
    """A directory beside a path, for this process alone, of what an interrupted evaluation goes on with; gone
    at its end."""
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


def make_statistics(config, split, keep_features):
    """Sums up the features of real images, for `evaluate` with --stats_file.

    Args:
      config: a `Config`; its `stats_file` is where they go,
        'statistics/<dataset>_<size>_<split>-<extractor>-<pixels>.npz' where empty.
      split: 'train' or 'test'.
      keep_features: whether the features of the first 10,000 images are kept, for the scores that need them.

    Returns:
      Where things are, as {label: text}, to the chief; None to other workers.

    Raises:
      UserError: as `Evaluator`.
    """
    data, options = config.data, config.evaluation
    extractor, led = _extractor(config)

    def make():
        if os.path.isdir(options.stats_file):
            raise UserError(f'--stats_file={options.stats_file} is a directory: give a file')
        stem = os.path.join('statistics', f'{data.dataset}_{data.image_size}_{split}-{extractor.name}')
        part = f'{options.stats_file or stem}.part'
        check_writable(os.path.dirname(part))
        found = summarise(config, extractor, split, scoring.KEPT_FEATURES if keep_features else 0, part)
        path = options.stats_file or f'{stem}-{found.fingerprint[:6]}.npz'
        found.save(path)
        os.remove(part)
        kept = f', {len(found.features):,} features kept' if keep_features else ''
        return {
            'statistics': path,
            'of': f'{found.images}, by {extractor.name} ({extractor.weights_hash}){kept}',
        }

    return led(make)


def _extractor(config):
    """The extractor, with which all workers take features of parts of the images, and what has them do so."""
    data, options = config.data, config.evaluation
    extractor = workers.everywhere(lambda: extractors.load(data, options.extractor, options.inception))
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


def check_scored(config, num_samples, with_statistics=True):
    """Raises UserError where the extractor or the statistics do not apply, or for too few images."""
    if num_samples < 2:
        raise UserError(f'--num_samples={num_samples} must be at least 2 to evaluate')
    extractor = extractors.load(config.data, config.evaluation.extractor, config.evaluation.inception)
    if config.evaluation.stats_file and with_statistics:
        _load_statistics(config, extractor)


def check_extractor(config):
    """Raises UserError where the extractor that was asked for does not apply; one that nobody asked for may
    be missing."""
    options = config.evaluation
    if options.extractor or options.inception:
        extractors.load(config.data, options.extractor, options.inception)


def figures(evaluator, result):
    """The main scores, as {label: text}."""
    frechet, kernel, classifier = scoring.names(evaluator.extractor).values()
    titles = {
        frechet: _TITLES.get(frechet, 'Fréchet distance'),
        'floor': 'its floor',
        f'{frechet}_held_out_size': 'in parts',
        kernel: _TITLES.get(kernel, 'kernel distance'),
        classifier: _TITLES.get(classifier, 'classifier score'),
        **{name: name for name in ('precision', 'recall', 'density', 'coverage')},
        'class_agreement': 'class agreement',
    }
    notes = {
        frechet: f' ({result["num_samples"]:,} samples; {result["extractor"]} {result["extractor_hash"]})',
        'floor': f' ({result["num_held_out"]:,} held-out images)',
        f'{frechet}_held_out_size': f' ({result["num_held_out"]:,} samples at a time)',
        'class_agreement': ' of the samples are taken for the class that was asked for',
    }
    shown = {
        title: _figure(result, name) + notes.get(name, '') for name, title in titles.items() if name in result
    }
    return {**shown, 'against': result['real']}


def _figure(result, name):
    """A number with its deviation over seeds, or its own error, where there is one."""
    errors = (
        result.get('deviation', {}).get(name),
        result.get(f'{name}_error'),
        result.get(f'{name}_deviation'),
    )
    error = next((error for error in errors if error is not None), None)
    return f'{result[name]:.4g}' + ('' if error is None else f' ± {error:.2g}')


def _over_seeds(seeds, results):
    """One result of several: means, deviations (n - 1) and the results by seed."""
    if len(results) == 1:
        return {'seed': seeds[0], **results[0]}
    results = [
        {key: value for key, value in result.items() if key != 'predicted_classes'} for result in results
    ]
    numbers = [key for key, value in results[0].items() if isinstance(value, float)]
    means = {key: float(np.mean([result[key] for result in results])) for key in numbers}
    deviation = {key: float(np.std([result[key] for result in results], ddof=1)) for key in numbers}
    return {'seeds': seeds, **results[0], **means, 'deviation': deviation, 'by_seed': results}


def _more(seeds):
    """What the name of an evaluation says of its seeds, where there are several."""
    seeds = '-'.join(map(str, seeds))
    return '' if '-' not in seeds else f'-seeds{seeds if len(seeds) < 40 else digest(seeds)}'


def _against(evaluator):
    """A name for the extractor and the real images, another for others."""
    extractor, real = evaluator.extractor, evaluator.real
    decides = [extractor.weights_hash, real.extractor_hash, real.images, real.fingerprint]
    return f'{extractor.name}-{digest(json.dumps(decides))}'
