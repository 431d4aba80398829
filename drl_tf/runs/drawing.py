"""Draws sets of samples into shards, on all replicas; an interruption costs at most one shard."""

import functools
import math
from collections.abc import Iterator

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.core import noise
from drl_tf.distributed import workers
from drl_tf.runs import pictures, samples


def draw(model, directory, request, after_part=lambda: None, source=''):
    """Draws a set of samples into a directory, or what is missing or damaged there; one run at a time.

    Each shard is written aside and renamed. `samples.json` says what decides the pixels. Samples of anything
    else are put aside, in `<directory>.1` and so on. Another batch size or number of replicas goes on with
    the same shards.

    Args:
      model: a `RecoveryLikelihood`; it samples on the replicas of the strategy that it was built under.
      directory: where `images-00000-of-00049.npz` and so on go, each with `images` (uint8 [n, H, W, C];
        points: float32), `first` and `seed`.
      request: a `SampleRequest` with a step.
      after_part: called after each part of the levels of a batch; what it raises ends the drawing, and the
        finished shards stay.
      source: fingerprint of the checkpoint, which is noted with the set.

    Returns:
      The states of the first images, [x_T, ..., x_0], each float32 [n, H, W, C], where they were drawn now;
      else None.

    Raises:
      UserError: another run draws there, or the samples are not finite.
    """
    settings = samples.settings_of(model, request)
    share = _share(model, request.count)
    batch = share * model.distribute_strategy.num_replicas_in_sync
    trajectory = None
    with workers.held(directory):
        missing = workers.told_by_chief(lambda: samples.missing(directory, settings, batch, source))
        missing = [samples.Shard(*shard) for shard in missing]
        done = request.count - sum(shard.count for shard in missing)
        with pictures.progress_bar(request.count, 'sampling', done, silent=not workers.is_chief()) as bar:
            walked = pictures.in_whole_steps(bar)

            def show(count):
                walked(count)
                after_part()

            for shard in missing:
                images = []
                for drawn, states in sampled(model, share, request.part(shard.first, shard.count), show):
                    images.append(drawn)
                    if shard.first == request.first:
                        trajectory = trajectory or states
                workers.by_chief(functools.partial(samples.write, shard, images, request.seed))
    return trajectory and _of_first_replica(model, trajectory)


def _of_first_replica(model, states):
    return [model.distribute_strategy.experimental_local_results(state)[0] for state in states]


def batches(model, request) -> Iterator[np.ndarray]:
    """Draws images a batch at a time, a part of it on each replica.

    Args:
      model: a `RecoveryLikelihood`.
      request: a `SampleRequest`.

    Yields:
      uint8 [n, H, W, C]; points of the plane, which have no grey levels, float32.

    Raises:
      UserError: the samples are not finite.
    """
    for images, _ in sampled(model, _share(model, request.count), request):
        yield images


def trajectory(model, request):
    """The states [x_T, ..., x_0] of a few images, each float32 [n, H, W, C], drawn on one replica."""
    seed = noise.root(request.seed, noise.SAMPLING)
    return model.sample(request.count, seed, request.first, request.weights, _terms(model, request))


def _share(model, num_samples):
    """How many images a replica draws at once: as few batches as possible, all of one size."""
    batches_needed = math.ceil(num_samples / model.config.sampling.sample_batch_size)
    return math.ceil(num_samples / (batches_needed * model.distribute_strategy.num_replicas_in_sync))


def sampled(model, share, request, after_part=lambda count: None):
    """Yields the images of each batch, as `batches`, and its states, [x_T, ..., x_0], a part on each replica.

    `after_part` is called after each part of the levels of a batch, with the number of images that the levels
    walked since the last call amount to.
    """
    strategy = model.distribute_strategy
    seed = noise.root(request.seed, noise.SAMPLING)
    last = request.first + request.count
    batch = share * strategy.num_replicas_in_sync
    for start in range(request.first, last, batch):
        firsts = list(range(start, start + batch, share))
        count = min(batch, last - start)
        terms = _together(strategy, [_terms(model, request.part(mine, share)) for mine in firsts])

        def walked(levels, count=count):
            after_part(levels * count)

        mine = workers.of_each(strategy, firsts)
        states = model.sample(share, seed, mine, request.weights, terms, strategy.run, walked)
        images = workers.gathered(strategy, states[-1])
        if not np.isfinite(images).all():
            raise UserError(
                'the samples are not finite: lower --step_scale, --noise_scale or --guidance, or use '
                'another checkpoint'
            )
        yield pictures.kept(images[: last - start]), states


def _terms(model, request):
    return request.terms(model.config.data.num_classes)


def _together(strategy, parts):
    """The terms of all replicas in one structure: the weights are the same, the labels differ."""
    terms = [zip(*term, strict=True) for term in zip(*parts, strict=True)]
    return tuple(
        (None if labels[0] is None else workers.of_each(strategy, labels), weights[0])
        for labels, weights in terms
    )
