"""Scores of a trained model, or of images made elsewhere."""

import contextlib
import dataclasses
import glob
import json
import os
import shutil

from drl_tf.base.files import digest, held, write_json
from drl_tf.distributed import devices, workers
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.evaluation.figures import figures, over_seeds
from drl_tf.runs import checkpoint, drawing, pictures, samples
from drl_tf.runs.naming import file_stem


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
        evaluator = Evaluator(config, parts, workdir=workdir)

        def finish():
            settings = {'mcmc_steps': config.diffusion.mcmc_steps, **dataclasses.asdict(config.sampling)}
            written, result = f'{path}-{_against(evaluator)}.json', over_seeds(seeds, results)
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


def _more(seeds):
    """What the name of an evaluation says of its seeds, where there are several."""
    seeds = '-'.join(map(str, seeds))
    return '' if '-' not in seeds else f'-seeds{seeds if len(seeds) < 40 else digest(seeds)}'


def _against(evaluator):
    """A name for the extractor and the real images, another for others."""
    extractor, real = evaluator.extractor, evaluator.real
    decides = [extractor.weights_hash, real.extractor_hash, real.images, real.fingerprint]
    return f'{extractor.name}-{digest(json.dumps(decides))}'
