"""Measures a trained model for `report.html`: energies of images, and samples on their way from noise."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.base.files import array_digest
from drl_tf.core import noise, pilot
from drl_tf.core.diffusion import at, per_image
from drl_tf.core.guidance import UNCONDITIONAL, guided, network_labels
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline, plane
from drl_tf.report import measured
from drl_tf.report.measured import Measured
from drl_tf.runs import chain_report, checkpoint, pictures
from drl_tf.runs.request import SampleRequest

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

IMAGES = 256
POINTS = 2048
_PARTS = 8  # Largest number of times that sampling stops to keep its state.
_SHOWN = 8  # Number of images whose states are kept.
_LARGEST_SIDE = 128  # Pixels; larger pictures of states are scaled down.
_SPLITS = ('train', 'test')
Energies = Callable[[tf.Tensor, int, np.ndarray], np.ndarray]


def measure(config: Config, workdir: str, count: int = 0) -> Measured:
    """Measures the energies of real images and of samples at each noise level, for `report.html`.

    The newest checkpoint of the run is used, with averaged weights in float32. The result is stored in
    `report.npz`; a stored result for the same weights and settings is returned at once.

    Args:
      config: the configuration to sample with.
      workdir: the run's directory.
      count: number of training images, of test images and of samples; 0: 256 images, or 2,048 points for a
        dataset of points of the plane.

    Returns:
      A `Measured`. `train`, `held_out` and `sampled` are the energies of training images, test images and
      samples, float32 [levels, images]; `states` are pictures of samples on their way from noise.

    Raises:
      UserError: there is no undamaged checkpoint, the dataset is missing, or the samples are not finite.

    Example:
      measure(config, 'runs/digits').train.mean(axis=1)  # Mean energy of training images at each level.
    """
    count = count or (POINTS if config.planar else IMAGES)
    step = checkpoint.newest_step(workdir)
    settings = json.dumps(
        {
            'weights': checkpoint.fingerprint(workdir, step),
            'count': count,
            'seed': config.training.seed,
            'steps': config.diffusion.mcmc_steps,
            'proposal': config.diffusion.proposal,
            'final_denoise': config.diffusion.final_denoise,
            'sampling': dataclasses.asdict(config.sampling),
            'images': [array_digest(*real_images(config, split, count)) for split in _SPLITS],
        }
    )
    known = measured.load(workdir, [])
    if known and known.settings == settings:
        return known
    denoise = config.diffusion.final_denoise
    exact = config.replace(precision='float32', final_denoise=False)
    model, step = checkpoint.load_model(workdir, exact)
    result = _measured(model, count, denoise, settings, step)
    result.save(workdir)
    return result


def _measured(model: EnergyModel, count: int, denoise: bool, settings: str, step: int) -> Measured:
    """Draws samples, diffuses real images to the same levels, and returns the energies of both."""
    schedule = model.schedule
    energies = energy_function(model)
    states, indices, labels = _sampled(model, count)
    of_states = np.stack([energies(x, t, labels) for x, t in zip(states, indices, strict=True)])
    below = indices < schedule.num_levels
    levels = indices[below][::-1]
    train, held_out = (diffused_energies(model, energies, levels, split, count) for split in _SPLITS)

    rows = count if model.config.planar else min(count, _SHOWN)
    shown = [x[:rows] for x in states]
    of_shown = of_states[:, :rows]
    if denoise:
        terms = SampleRequest.of(model.config, rows).terms(model.config.data.num_classes)
        shown.append(model.final_denoise(shown[-1], Weights.EMA, terms))
        of_shown = np.append(of_shown, [energies(shown[-1], 0, labels[:rows])], axis=0)
        indices = np.append(indices, -1)
    return Measured(
        settings=settings,
        step=step,
        levels=levels,
        noise=schedule.S[levels],
        train=train,
        held_out=held_out,
        sampled=of_states[below][::-1],
        states=small_pictures(shown),
        state_levels=indices,
        state_energies=of_shown.mean(axis=1, keepdims=True) if model.config.planar else of_shown,
    )


def energy_function(model: EnergyModel) -> Energies:
    """Returns a function that maps noisy images to their energies under a model.

    The function is called as energies(x_t, t, classes), with n images of one noise level t, float32
    [n, H, W, C], and the number of each image's class from 0, or -1 for no class, int [n]. It returns float32
    [n]. At the top level, t = T, energies of the paper have no network: there the energy is that of white
    noise, |x|^2 / 2. A model without classes ignores the argument `classes`.

    Args:
      model: the model; the averaged weights are used.
    """
    size = model.config.sampling.sample_batch_size
    num_levels = model.schedule.num_levels

    @tf.function(autograph=False, reduce_retracing=True)
    def log_density(x: tf.Tensor, level: tf.Tensor, terms: Any) -> tf.Tensor:
        return model.density_at(level, terms=terms)(at(model.schedule.m, level) * x)

    @tf.function(autograph=False, reduce_retracing=True)
    def log_prob(x: tf.Tensor, level: tf.Tensor, terms: Any) -> tf.Tensor:
        return model.log_prob_at(per_image(model.schedule.angle, level), terms=terms)(x)

    def energies(x: tf.Tensor, t: int, labels: np.ndarray) -> np.ndarray:
        if t == num_levels and model.config.network.energy == 'paper':
            return 0.5 * np.sum(np.square(x), axis=(1, 2, 3))
        found = []
        log_p = log_prob if t == num_levels else log_density
        for first in range(0, len(x), size):
            part = x[first : first + size]
            terms = _terms(model, labels[first : first + size])
            found.append(-log_p(part, tf.fill([len(part)], int(t)), terms).numpy())
        return np.concatenate(found)

    return energies


def _terms(model: EnergyModel, labels: np.ndarray) -> Any:
    """Returns the terms of the energy of each image's class, without guidance."""
    return guided(tf.constant(network_labels(labels))) if model.config.data.num_classes else UNCONDITIONAL


def _sampled(model: EnergyModel, count: int) -> tuple[list[tf.Tensor], np.ndarray, np.ndarray]:
    """Draws the images that `--mode=sample` draws with these options, and keeps the states.

    Returns:
      The states from x_T to x_0, float32 [count, H, W, C] each; the noise level of each state, int [S]; and
      the class of each image, int32 [count], 0 for a model without classes.
    """
    config = model.config
    request = SampleRequest.of(config, count)
    size = min(count, config.sampling.sample_batch_size)
    q = pilot.as_tensor(chain_report.corrector_steps(model, Weights.EMA))
    parts = []
    with pictures.progress_bar(count, 'sampling') as bar:
        move = pictures.in_whole_steps(bar)
        for first in range(0, count, size):
            kept = min(size, count - first)
            terms = request.part(first, size).terms(config.data.num_classes)

            def walked(share: float, kept: int = kept) -> None:
                move(share * kept)

            draw = Draw(tf.constant(first), Weights.EMA, terms, q)
            states = model.sample(size, request.noise_seed, draw, after_part=walked, most_parts=_PARTS)
            parts.append([x[:kept] for x in states])
    joined = [tf.concat(each, axis=0) for each in zip(*parts, strict=True)]
    if not np.isfinite(joined[-1]).all():
        raise UserError(
            'the samples are not finite: lower --step_scale, --noise_scale or --guidance, or use another run'
        )
    classes = config.data.num_classes
    labels = request.classes(classes) if classes else np.zeros(count, np.int32)
    return joined, levels_of_states(model, len(joined)), labels


def levels_of_states(model: EnergyModel, num_states: int) -> np.ndarray:
    """Returns the noise level t of each state x_t that `EnergyModel.sample` returns, int [S].

    Args:
      model: the model, which sampled on the levels of `model.walk`.
      num_states: S, the number of states, from x_T down to x_0.
    """
    bounds = np.linspace(model.walk.num_levels, 0, num_states).round().astype(int)
    return np.append(model.walk.levels, model.schedule.num_levels)[bounds]


def diffused_energies(
    model: EnergyModel, energies: Energies, levels: np.ndarray, split: str, count: int
) -> np.ndarray:
    """Returns the energies of images x of a split, with the noise of each level: x_t = A_t x + S_t eps.

    The noise depends on the option `seed`, the split, the level and the index of the image.

    Args:
      model: the model, whose noise levels and dataset are used.
      energies: the function that `energy_function` returns.
      levels: L noise levels t, int [L].
      split: 'train' or 'test'.
      count: n, the number of images; if the split has fewer, n is their number.

    Returns:
      float32 [L, n].
    """
    schedule = model.schedule
    images, labels = real_images(model.config, split, count)
    seed = noise.fold(noise.root(model.config.training.seed, noise.REPORT), _SPLITS.index(split))
    found = []
    for t in levels:
        eps = noise.normal(noise.fold(seed, t), images.shape)
        x_t = np.float32(schedule.A[t]) * images + np.float32(schedule.S[t]) * eps
        found.append(energies(x_t, t, labels))
    return np.stack(found)


def real_images(config: Config, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first images of a split, and their classes.

    Points of the plane are drawn from the dataset's density; the two splits have different points.

    Args:
      config: the configuration, which names the dataset.
      split: 'train' or 'test'.
      count: n, the number of images; if the split has fewer, n is their number.

    Returns:
      The images, float32 [n, H, W, C] in [-1, 1], and the number of each image's class, int [n], from 0, or
      -1 for no class. If the model has no classes, all are 0.
    """
    data = config.data
    if config.planar:
        batch = _SPLITS.index(split) * (config.training.train_steps + 1)
        return plane.points(data.dataset, config.training.seed, batch, count), np.zeros(count, np.int32)
    images = pipeline.load_images(data, split, count)
    labels = np.zeros(len(images), np.int32)
    if data.num_classes:
        labels = pipeline.load_labels(data, split, count)
    return pixels.from_levels(images.astype(np.float32)), labels


def small_pictures(states: Sequence[Any]) -> np.ndarray:
    """Makes pictures of the states, scaled down to at most 128 pixels per side.

    Args:
      states: S states of n images, float32 [n, H, W, C] each.

    Returns:
      Pictures of the first m images, at most 8, uint8 [S, m, h, w, c]. Points of the plane give one plot for
      each state, so that m is 1.
    """
    cells = pictures.trajectory(states, _SHOWN).swapaxes(0, 1)
    sides = np.array(cells.shape[2:4])
    if sides.max() <= _LARGEST_SIDE:
        return cells
    small = np.maximum(1, np.round(sides * _LARGEST_SIDE / sides.max())).astype(int)
    reduced = np.stack([tf.image.resize(row, small, method='area') for row in cells])
    return np.round(reduced).astype(np.uint8)
