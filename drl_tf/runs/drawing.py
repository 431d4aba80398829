"""Draws sets of samples on all replicas, and writes them to several files (shards)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from drl_tf.base.errors import NotFinite
from drl_tf.core import pilot
from drl_tf.core.sampling import Draw, Info
from drl_tf.distributed import chief, workers
from drl_tf.runs import chain_report, pictures, samples

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.core.guidance import Terms
    from drl_tf.runs.request import SampleRequest


class Batch(NamedTuple):
    """Images that were drawn together, with the noisy images on the way to them.

    Attributes:
      images: uint8 [n, H, W, C]; for points of the plane, float32.
      states: [x_T, ..., x_0], the images on the way from noise x_T to the samples x_0: at each noise
        level, or at about 9 if there are more than 32 levels. Each is float32 [n, H, W, C]; under a strategy
        it is a distributed value, with the images of each replica.
      chains: a `sampling.Info` with acceptance and displacement of the Markov chains, each [n, T]; None
        without chains.
    """

    images: np.ndarray
    states: list[Any]
    chains: Info | None


def draw(
    model: EnergyModel,
    directory: str,
    request: SampleRequest,
    after_part: Callable[[], None] = lambda: None,
    source: str = '',
) -> list[tf.Tensor] | None:
    """Draws a set of samples into a directory, and keeps files of the set that exist already.

    An interrupted set can be continued, even with another batch size or number of replicas. If the directory
    holds a set that was drawn with other settings, that set is first moved to `<directory>.1` (or .2, ...).

    Args:
      model: the model; all replicas of its strategy draw.
      directory: where to write the settings, `samples.json`, and the images, `images-00000-of-00049.npz` and
        so on. Each `.npz` file has the entries `images` (uint8 [n, H, W, C]; points of the plane: float32),
        `first` (index of its first image) and `seed`.
      request: which images to draw, and with which weights. Its attribute `step`, the training step of the
        model, must not be None; `samples.json` records it.
      after_part: callable without arguments, called several times while a batch is drawn. It may raise an
        error to stop drawing; the complete files stay.
      source: result of `checkpoint.fingerprint`, to record in `samples.json`; '': none.

    Returns:
      [x_T, ..., x_0], the first n images of the set on the way from noise x_T to the samples x_0, each
      float32 [n, H, W, C]. n is the number of images that the first replica drew in the first batch. None if
      the file of the first images existed already.

    Raises:
      UserError: another process draws into the directory, or the samples are not finite.
    """
    settings = samples.settings_of(model, request)
    share = _share(model, request.count)
    batch = share * model.distribute_strategy.num_replicas_in_sync
    trajectory = None
    with chief.held(directory):
        missing = chief.only(samples.missing)(directory, settings, batch, source)
        missing = [samples.Shard(*shard) for shard in missing]
        done = request.count - sum(shard.count for shard in missing)
        with pictures.progress_bar(request.count, 'sampling', done, silent=not workers.is_chief()) as bar:
            walked = pictures.in_whole_steps(bar)

            def show(count: float) -> None:
                walked(count)
                after_part()

            q = chain_report.corrector_steps(model, request.weights) if missing else None
            for shard in missing:
                images = []
                infos = []
                for batch in sampled(model, share, request.part(shard.first, shard.count), show, q):
                    images.append(batch.images)
                    infos.append(batch.chains)
                    if shard.first == request.first:
                        trajectory = trajectory or batch.states
                more = chain_report.of_images(model.config, q, infos)
                chief.only(samples.write)(shard, images, request.seed, more)
        chief.only(chain_report.write)(directory, model)
    return trajectory and _of_first_replica(model, trajectory)


def _of_first_replica(model: EnergyModel, states: Sequence[Any]) -> list[tf.Tensor]:
    return [model.distribute_strategy.experimental_local_results(state)[0] for state in states]


def batches(model: EnergyModel, request: SampleRequest) -> Iterator[np.ndarray]:
    """Draws images in batches, on all replicas.

    Args:
      model: the model; all replicas of its strategy draw.
      request: what to draw.

    Yields:
      The images of each batch, uint8 [n, H, W, C]; for points of the plane, float32.

    Raises:
      UserError: the samples are not finite.
    """
    q = chain_report.corrector_steps(model, request.weights)
    for batch in sampled(model, _share(model, request.count), request, corrector_steps=q):
        yield batch.images


def trajectory(model: EnergyModel, request: SampleRequest) -> list[tf.Tensor]:
    """Draws images on one replica, and returns the noisy images on the way to them.

    Args:
      model: the model.
      request: which n images to draw, and with which weights.

    Returns:
      [x_T, ..., x_0], the images on the way from noise x_T to the samples x_0, each
      float32 [n, H, W, C]: at each noise level, or at about 9 if there are more than 32 levels.
    """
    draw = Draw(request.first, request.weights, _terms(model, request))
    return model.sample(request.count, request.noise_seed, draw)


def _share(model: EnergyModel, num_samples: int) -> int:
    """Returns how many images a replica draws at once, for the fewest batches and equal batch sizes."""
    batches_needed = math.ceil(num_samples / model.config.sampling.sample_batch_size)
    return math.ceil(num_samples / (batches_needed * model.distribute_strategy.num_replicas_in_sync))


def sampled(
    model: EnergyModel,
    share: int,
    request: SampleRequest,
    after_part: Callable[[float], None] = lambda count: None,
    corrector_steps: Sequence[float] | None = None,
) -> Iterator[Batch]:
    """Draws images in batches on all replicas, with the noisy images on the way to them.

    Args:
      model: the model; all replicas of its strategy draw.
      share: number of images that each replica draws at once.
      request: which images to draw, and with which weights.
      after_part: callable, called several times per batch with the progress since the last call. Progress
        counts in images: an image that has passed half of its noise levels counts 0.5.
      corrector_steps: relative step size of the chains at each level, [T], the result of
        `chain_report.corrector_steps`. None: `EnergyModel.sample` finds the step sizes for each batch, which
        may take a pilot run.

    Yields:
      The batches in the order of their images: each a `Batch` with images and noisy images.

    Raises:
      UserError: the samples are not finite.
    """
    strategy = model.distribute_strategy
    last = request.first + request.count
    batch = share * strategy.num_replicas_in_sync
    for start in range(request.first, last, batch):
        firsts = list(range(start, start + batch, share))
        count = min(batch, last - start)
        terms = _together(strategy, [_terms(model, request.part(mine, share)) for mine in firsts])

        def walked(levels: float, count: int = count) -> None:
            after_part(levels * count)

        mine = workers.of_each(strategy, firsts)
        draw = Draw(mine, request.weights, terms, pilot.as_tensor(corrector_steps))
        infos: list[Info] = []
        states = model.sample(share, request.noise_seed, draw, strategy.run, walked, infos.append)
        images = workers.gathered(strategy, states[-1])
        if not np.isfinite(images).all():
            raise NotFinite(
                'the samples are not finite: lower --step_scale, --noise_scale or --guidance, or use '
                'another checkpoint'
            )
        chains = None if model.config.corrector == 'none' else _of_all_levels(strategy, infos, count)
        yield Batch(pictures.kept(images[: last - start]), states, chains)


def _of_all_levels(strategy: tf.distribute.Strategy, infos: Sequence[Info], count: int) -> Info:
    """Joins the infos of all parts of a walk, each 0 at the levels of the others; keeps `count` images."""
    by_part = ([workers.gathered(strategy, part) for part in parts] for parts in zip(*infos, strict=True))
    return Info(*(np.sum(parts, axis=0)[:count] for parts in by_part))


def _terms(model: EnergyModel, request: SampleRequest) -> Terms:
    return request.terms(model.config.data.num_classes)


def _together(strategy: tf.distribute.Strategy, parts: Sequence[Any]) -> tuple[tuple[Any, float], ...]:
    """Merges the guidance terms of the replicas, which differ in their labels but not in their weights."""
    terms = [zip(*term, strict=True) for term in zip(*parts, strict=True)]
    return tuple(
        (None if labels[0] is None else workers.of_each(strategy, labels), weights[0])
        for labels, weights in terms
    )
