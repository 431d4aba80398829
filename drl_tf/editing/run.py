"""Runs the modes inpaint, restore, edit and interpolate: reads images, and writes the results to files."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.base import pixels
from drl_tf.base.files import write_json
from drl_tf.core import noise
from drl_tf.core.inverse import Plan, default_plan
from drl_tf.core.posterior import Effort
from drl_tf.core.weights import Weights
from drl_tf.editing import degradations, estimation, inputs, masks, plans, report
from drl_tf.editing.degradations import Degradation
from drl_tf.editing.methods import Editing
from drl_tf.runs import checkpoint

if TYPE_CHECKING:
    from drl_tf.config.config import Config


@dataclasses.dataclass(frozen=True)
class EditRequest:
    """Which images to change, and how; the attributes are options of the command line.

    Attributes:
      input: where the images come from: 'test' (the test split), or the path of a picture, of a directory of
        pictures, or of a .npz or .npy file.
      resize: whether to crop and resize the pictures of `input`; without it, they must have the model's size.
      degraded: whether the images of `input` are degraded already.
      num_inputs: number of images.
      num_results: number of results for each image.
      mask: which pixels are missing: 'half' (the lower half), 'top,left,height,width' (a rectangle),
        'random:SHARE', or the path of a picture that is white where pixels are missing.
      degradation: what `restore` undoes: 'super2', 'super4', 'grey', 'blur:STD', 'blur:FILE.npy', 'noise:STD'
        or 'noise' (of unknown standard deviation).
      strength: how much noise `edit` adds, as a share of the noise levels, above 0 and at most 1.
      between: indices of the two samples of `interpolate`.
      num_frames: number of images that `interpolate` draws, both samples included.
      labels: class number from 0 of each image, in order. If there are more images than labels, the labels
        start again. (): no class.
      method: 'posterior' (chains given the known pixels; needs --energy=preconditioned), 'replace'
        (overwrites the known pixels after each noise level), or '' for the default of the model.
      edit_levels: number of noise levels to visit; 0: the default.
      edit_steps: number of chain steps each time that a level is sampled; -1: the default.
      edit_rounds: how many times each level is sampled; 0: the default.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.
      output_dir: directory for the files; '': `<workdir>/editing`.
    """

    input: str = inputs.TEST
    resize: bool = False
    degraded: bool = False
    num_inputs: int = 8
    num_results: int = 4
    mask: str = 'half'
    degradation: str = 'super2'
    strength: float = 0.5
    between: tuple[int, ...] = (0, 1)
    num_frames: int = 9
    labels: tuple[int, ...] = ()
    method: str = ''
    edit_levels: int = 0
    edit_steps: int = -1
    edit_rounds: int = 0
    weights: Weights = Weights.EMA
    step: int | None = None
    output_dir: str = ''

    def plan(self, config: Config) -> Plan:
        """Returns the method and the numbers of levels and steps by which `inpaint` and `restore` sample.

        Where an attribute of this request stands for the default, such as '' for `method`, the `Plan` has
        the model's default.

        Args:
          config: the configuration of the model.

        Raises:
          UserError: `method` is 'posterior', and the model was not trained with --energy=preconditioned.
        """
        found = default_plan(config, plans.method_of(config, self.method))
        effort = Effort(
            num_steps=found.effort.num_steps if self.edit_steps < 0 else self.edit_steps,
            step=found.effort.step,
            rounds=self.edit_rounds or found.effort.rounds,
        )
        return Plan(found.method, effort, self.edit_levels or found.num_levels)


def inpaint(config: Config, workdir: str, request: EditRequest) -> dict[str, str]:
    """Fills in the missing pixels of images, several times each, and writes the results to files.

    Args:
      config: the configuration of the run; its sampling options and its seed apply.
      workdir: the run's directory.
      request: the images (`input`), which pixels are missing (`mask`), the number of results, and the method.

    Returns:
      Lines to print, {label: text}: the paths of a picture, of the arrays (.npz) and of a summary (.json),
      and scores of the results.

    Raises:
      UserError: the images or the mask are wrong, there is no undamaged checkpoint, or the model does not
        allow the method ('posterior' needs --energy=preconditioned).
    """
    model, step = _load(config, workdir, request)
    images = inputs.load(config, request.input, request.num_inputs, config.image_shape, request.resize)
    missing = masks.missing(request.mask, len(images), *config.image_shape[:2], config.training.seed)
    plan = request.plan(config)
    results = _several(
        request,
        lambda labels: model.inpaint(
            images.repeat(request.num_results, axis=0),
            missing.repeat(request.num_results, axis=0),
            plan=plan,
            **_common(config, labels),
        ),
        len(images),
    )
    shown = {'image': images, 'mask': np.where(missing, np.uint8(64), images)}
    scores = report.scores(images, results, missing)
    return _written(config, workdir, request, step, 'inpaint', shown, results, plan, scores)


def restore(config: Config, workdir: str, request: EditRequest) -> dict[str, str]:
    """Restores degraded images, several times each, and writes the results to files.

    Unless `request.degraded` is true, the input images are originals: they are degraded first, and the
    results are then compared with them.

    Args:
      config: the configuration of the run; its sampling options and its seed apply.
      workdir: the run's directory.
      request: the images (`input`), what was done to them (`degradation`), the number of results, the method.

    Returns:
      Lines to print, {label: text}: the paths of a picture, of the arrays (.npz) and of a summary (.json),
      and scores if the originals are known.

    Raises:
      UserError: the images or the degradation are wrong, there is no undamaged checkpoint, or
        `request.method` does not work with the model or the degradation.
    """
    model, step = _load(config, workdir, request)
    degradation = degradations.parse(request.degradation, config.image_shape)
    given = degradation.observed_shape(config.image_shape) if request.degraded else config.image_shape
    images = inputs.load(config, request.input, request.num_inputs, given, request.resize)
    x = pixels.from_levels(images.astype(np.float32))
    truth = None if request.degraded else images
    observations = x if truth is None else _degraded(config, degradation, x)
    notes: dict[str, Any] = {}
    if degradation.noise_std is None:
        std = estimation.noise_std(model, observations, request.weights)
        degradation = dataclasses.replace(degradation, noise_std=std)
        notes['noise_std'] = std
    plan = request.plan(config)
    results = _several(
        request,
        lambda labels: model.restore(
            observations.repeat(request.num_results, axis=0),
            degradation,
            plan=plan,
            **_common(config, labels),
        ),
        len(images),
    )
    shown = {} if truth is None else {'image': truth}
    shown['given'] = report.enlarged(observations, config.image_shape)
    scores = {} if truth is None else report.scores(truth, results)
    return _written(config, workdir, request, step, 'restore', shown, results, plan, {**notes, **scores})


def edit(config: Config, workdir: str, request: EditRequest) -> dict[str, str]:
    """Changes images by adding noise and removing it, several times each, and writes the results to files.

    Args:
      config: the configuration of the run; its sampling options and its seed apply.
      workdir: the run's directory.
      request: the images (`input`), how much noise to add (`strength`), and the number of results.

    Returns:
      Lines to print, {label: text}: the paths of a picture, of the arrays (.npz) and of a summary (.json).

    Raises:
      UserError: the images are wrong, or there is no undamaged checkpoint.
    """
    model, step = _load(config, workdir, request)
    images = inputs.load(config, request.input, request.num_inputs, config.image_shape, request.resize)
    results = _several(
        request,
        lambda labels: model.edit(
            images.repeat(request.num_results, axis=0), request.strength, **_common(config, labels)
        ),
        len(images),
    )
    return _written(config, workdir, request, step, 'edit', {'image': images}, results, None, {})


def interpolate(config: Config, workdir: str, request: EditRequest) -> dict[str, str]:
    """Draws a sequence of images from one sample to another, and writes it to files.

    Args:
      config: the configuration of the run; its sampling options and its seed apply.
      workdir: the run's directory.
      request: which two samples of this seed to connect (`between`, their indices from 0), and how many
        images to draw (`num_frames`).

    Returns:
      Lines to print, {label: path}: a picture of all images, an animation (.gif), and the arrays (.npz).

    Raises:
      UserError: there is no undamaged checkpoint.
    """
    model, step = _load(config, workdir, request)
    begin, end = request.between
    labels = (request.labels * 2)[:2] or None
    frames = model.interpolate(begin, end, request.num_frames, **_common(config, labels))
    name = ['interpolate', f'{begin}-{end}', str(request.num_frames), f'{request.labels or ""}']
    name.append(report.options_digest(config, report.of_model(workdir, request.output_dir, step)))
    return report.write_frames(_root(config, workdir, request, step, name), frames)


def _load(config: Config, workdir: str, request: EditRequest) -> tuple[Editing, int]:
    model, step = checkpoint.load_model(workdir, config, request.step)
    return Editing(model, request.weights), step


def _common(config: Config, labels: Any) -> dict[str, Any]:
    """Returns the arguments that all methods of `Editing` take, {name: value}."""
    return {'seed': config.training.seed, 'labels': labels, 'guidance': config.sampling.guidance}


def _several(request: EditRequest, draw: Any, count: int) -> np.ndarray:
    """Calls `draw` with a class for each result; returns R results for each image, [n, R, H, W, C]."""
    labels = None
    if request.labels:
        labels = np.resize(request.labels, count).repeat(request.num_results)
    results = draw(labels)
    return results.reshape(count, request.num_results, *results.shape[1:])


def _degraded(config: Config, degradation: Degradation, x: np.ndarray) -> np.ndarray:
    """Degrades clean images x to H x + noise; the noise depends on the seed of the run."""
    import tensorflow as tf

    observations = degradation.operator(config.image_shape).apply(tf.constant(x))
    if degradation.kind == 'noise':
        std = estimation.UNKNOWN if degradation.noise_std is None else degradation.noise_std
        seed = noise.fold(noise.root(config.training.seed, noise.SAMPLING), noise.FORWARD)
        observations += std * noise.normal(seed, x.shape)
    return observations.numpy()


def _written(config, workdir, request, step, mode, shown, results, plan, scores):
    """Writes a result, and adds its distance in features; returns {label: text} for the command line.

    The files are complete before the network of the features runs, which may fail.
    """
    detail = {'inpaint': request.mask, 'restore': request.degradation, 'edit': f'{request.strength:g}'}[mode]
    settings = {
        **dataclasses.asdict(request),
        'mode': mode,
        'step': step,
        'seed': config.training.seed,
        'guidance': config.sampling.guidance,
        'plan': dataclasses.asdict(plan) if plan else None,
    }
    slug = re.sub(r'[^\w.]+', '_', os.path.basename(detail))[:40]
    of_model = report.of_model(workdir, request.output_dir, step)
    name = [mode, slug, plan.method if plan else '', report.options_digest(config, {**settings, **of_model})]
    root = _root(config, workdir, request, step, name)
    written = report.write(root, shown, results, {**settings, **scores})
    if scores and 'image' in shown:
        scores = {**scores, **report.feature_distance(config, shown['image'], results)}
        write_json(f'{root}.json', {**settings, **scores})
    return {**{label: f'{value:.4g}' for label, value in scores.items()}, **written}


def _root(config: Config, workdir: str, request: EditRequest, step: int, name: list[str]) -> str:
    parts = [f'{step:08d}', request.weights, *name, f'seed{config.training.seed}']
    cleaned = [re.sub(r'[^\w.-]+', '_', part).strip('_') for part in parts]
    return report.root_of(workdir, request.output_dir, cleaned)
