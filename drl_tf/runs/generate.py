"""Draws samples of a trained model, and writes them to files (--mode=sample)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from drl_tf.config import combinations
from drl_tf.distributed import chief, devices
from drl_tf.runs import chain_report, checkpoint, drawing, pictures, samples
from drl_tf.runs.naming import set_name

if TYPE_CHECKING:
    import tensorflow as tf

    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.runs.request import SampleRequest
_TRAJECTORY_ROWS = 8
_GRID_IMAGES = 400


def generate(
    config: Config, workdir: str, request: SampleRequest, output_dir: str = '', save_images: bool = False
) -> dict[str, str]:
    """Draws samples of a trained model, and writes them to files.

    One PNG shows a grid of samples, another the noisy images on the way to some of them. After an interrupted
    call, only the missing samples are drawn. If an earlier call has written all files from the same
    checkpoint, nothing is drawn.

    Args:
      config: the configuration to sample with.
      workdir: the run's directory; it may be read-only if `output_dir` is given.
      request: what to draw.
      output_dir: directory for the files, whose names then end in a hash of the checkpoint; '':
        `<workdir>/samples`.
      save_images: whether to write each image as a PNG file too; False for points of the plane.

    Returns:
      Lines to print, {label: text}: paths of the files, and statistics of the chains.

    Raises:
      UserError: there is no undamaged checkpoint, a class does not exist, or the samples are not finite.

    Example:
      generate(config, 'runs/digits', SampleRequest.of(config, 64))
    """
    combinations.check_classes(config, request.labels)
    found = _finished(config, workdir, request, output_dir, save_images)
    if found:
        return found
    with devices.strategy().scope():
        model, step = checkpoint.load_model(workdir, config, request.step)
    request = dataclasses.replace(request, step=step)
    source = chief.only(checkpoint.fingerprint)(workdir, step)
    root = _root(config, workdir, request, output_dir, source)
    _remove_outdated(config, root, request, source)
    states = drawing.draw(model, root, request, source=source)
    return _show(model, root, request, states, save_images)


def _root(config: Config, workdir: str, request: SampleRequest, output_dir: str, source: str) -> str:
    """Returns the path of the set of samples; `output_dir` may hold sets of several models."""
    if output_dir:
        return os.path.join(output_dir, set_name(config, workdir, request, source))
    return os.path.join(workdir, 'samples', set_name(config, workdir, request))


@chief.only
def _finished(
    config: Config, workdir: str, request: SampleRequest, output_dir: str, save_images: bool
) -> dict[str, str] | None:
    """Returns `_places` if an earlier call has written all files from this very checkpoint; else None."""
    step = checkpoint.newest_step(workdir) if request.step is None else request.step
    source = checkpoint.fingerprint(workdir, step)
    request = dataclasses.replace(request, step=step)
    root = _root(config, workdir, request, output_dir, source) if source else ''
    if not source or not samples.is_finished(root, config, request, source):
        return None
    places = _places(root, request, save_images)
    if not all(map(os.path.exists, places.values())):
        return None
    if save_images and sum(name.endswith('.png') for name in os.listdir(places['images'])) < request.count:
        return None
    print('all samples were drawn before', flush=True)
    return {**chain_report.said(chain_report.read(root)), **places}


@chief.only
def _remove_outdated(config: Config, root: str, request: SampleRequest, source: str) -> None:
    """Removes the pictures of a set that is to be drawn, such as those of a model that was trained anew."""
    if samples.is_finished(root, config, request, source):
        return
    places = _places(root, request, save_images=True)
    for name in ('grid', 'trajectory'):
        with contextlib.suppress(FileNotFoundError):
            os.remove(places[name])
    shutil.rmtree(places['images'], ignore_errors=True)


def _places(root: str, request: SampleRequest, save_images: bool) -> dict[str, str]:
    """Returns {label: path} of the files that `generate` writes."""
    single = {'images': f'{root}-images'} if save_images else {}
    return {
        'grid': f'{root}.png',
        'trajectory': f'{root}-trajectory.png',
        **single,
        f'{request.count:,} images': root,
    }


@chief.only
def _show(
    model: EnergyModel,
    root: str,
    request: SampleRequest,
    states: Sequence[tf.Tensor] | None,
    save_images: bool,
) -> dict[str, str]:
    """Writes grid and trajectory of a set, and with `save_images` each image; returns {label: path}."""
    config = model.config
    most_rows = config.sampling.sample_batch_size if config.planar else _TRAJECTORY_ROWS
    rows = min(request.count, most_rows)
    states = states or drawing.trajectory(model, request.part(request.first, rows))
    images = samples.first_images(root, config.image_shape, request.count if config.planar else _GRID_IMAGES)
    num_classes = config.data.num_classes
    in_turn = len(request.labels) or num_classes
    in_turn = 0 if request.label_weights or in_turn == 1 else in_turn
    captions = {}
    if num_classes and not request.label_weights:
        classes = request.part(request.first, len(images)).classes(num_classes)
        captions = pictures.class_captions(classes, in_turn)
    pictures.save_png(f'{root}.png', pictures.grid(images, in_turn), **captions)
    pictures.save_png(f'{root}-trajectory.png', pictures.trajectory(states, rows))
    if save_images:
        drawn = samples.read(root, config.image_shape)
        pictures.save_each(f'{root}-images', drawn, request.first)
    return {**chain_report.said(chain_report.read(root)), **_places(root, request, save_images)}
