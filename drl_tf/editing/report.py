"""Scores the results of editing, and writes them as pictures and arrays."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from drl_tf.base import pixels
from drl_tf.base.files import digest, write_json, written_aside
from drl_tf.config import chains
from drl_tf.editing import agreement
from drl_tf.runs import checkpoint, exported, pictures

if TYPE_CHECKING:
    from drl_tf.config.config import Config

_MOST_ROWS = 16
_MOST_RESULTS = 8
_FRAME_MS = 120
_GIF_SIDE = 256


def scores(truth: np.ndarray, results: np.ndarray, unknown: np.ndarray | bool = True) -> dict[str, float]:
    """Compares R results for each of n images with the original image.

    Args:
      truth: the original images, uint8 [n, H, W, C].
      results: the results for each image, uint8 [n, R, H, W, C].
      unknown: True for the pixels to compare, bool, broadcast against [n, H, W, C].

    Returns:
      A dict with these entries:

      - 'psnr': peak signal-to-noise ratio (PSNR) in dB, from the mean squared error over all results.
      - 'psnr_mean': the PSNR if the R results of each image are replaced by their mean.
      - 'psnr_best': the PSNR if only the best of the R results of each image counts.
      - 'spread': standard deviation between the results of an image, in grey levels.
      - 'coverage': share of pixels whose true value lies between the smallest and the largest result.
      - 'coverage_expected': the coverage of exact draws, (R - 1) / (R + 1).
      - 'inside': share of images whose truth lies among the results; only if R is at least 2. The truth and
        its results are R + 1 images. The truth lies among the results if it is not the one of these images
        that is farthest from the mean of the other R.
      - 'inside_expected': the value of 'inside' for exact draws, R / (R + 1); only if R is at least 2.

    Examples:
      >>> truth, results = np.zeros([1, 1, 1, 1], np.uint8), np.full([1, 2, 1, 1, 1], 51, np.uint8)
      >>> found = scores(truth, results)
      >>> round(found['psnr'], 2), found['coverage']
      (13.98, 0.0)
    """
    unknown = np.broadcast_to(unknown, truth.shape)
    x = truth.astype(float)
    drawn = results.astype(float)
    mean = drawn.mean(axis=1)
    inside = (drawn.min(axis=1) <= x) & (x <= drawn.max(axis=1))
    count = results.shape[1]

    squares = (drawn - x[:, None]) ** 2
    best = _sums(squares, unknown[:, None]).argmin(axis=1)

    def psnr(square: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / max(square[unknown].mean(), 1e-12)))

    found = {
        'psnr': psnr(squares.mean(axis=1)),
        'psnr_mean': psnr((mean - x) ** 2),
        'psnr_best': psnr(squares[np.arange(len(x)), best]),
        'spread': float(np.sqrt(drawn.var(axis=1)[unknown].mean())),
        'coverage': float(inside[unknown].mean()),
        'coverage_expected': (count - 1) / (count + 1),
    }
    if count > 1:
        found['inside'] = float(covered(x, drawn, unknown).mean())
        found['inside_expected'] = count / (count + 1)
    return found


def covered(truth: np.ndarray, results: np.ndarray, unknown: np.ndarray | bool = True) -> np.ndarray:
    """Tests for each image whether the original image, the truth, lies among its R results, or far out.

    The truth and its results are R + 1 images. Each has a distance from the mean of the other R. The truth
    lies among the results unless its distance is larger than all others. Nothing distinguishes the truth from
    exact draws. So it lies among R exact draws with probability R / (R + 1).

    Args:
      truth: the original images, float [n, H, W, C].
      results: the results for each image, float [n, R, H, W, C], R at least 2.
      unknown: True for the pixels to compare, bool, broadcast against [n, H, W, C].

    Returns:
      bool [n], True where the truth lies among the results.

    Examples:
      >>> results = np.array([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1, 1)
      >>> [bool(covered(np.full([1, 1, 1, 1], x), results)[0]) for x in (1.5, 5.0)]
      [True, False]
    """
    every = np.concatenate([truth[:, None], results], axis=1)
    others = (every.sum(axis=1, keepdims=True) - every) / results.shape[1]
    distances = _sums((every - others) ** 2, np.broadcast_to(unknown, truth.shape)[:, None])
    return distances[:, 0] <= distances[:, 1:].max(axis=1)


def feature_distance(config: Config, truth: np.ndarray, results: np.ndarray) -> dict[str, float]:
    """Measures how far R results for each of n images are from the original images, in features of a network.

    Args:
      config: the configuration. Its options `extractor` and `inception` choose the network; without them, it
        is the digits classifier if that knows the images.
      truth: the original images, uint8 [n, H, W, C].
      results: the results for each image, uint8 [n, R, H, W, C].

    Returns:
      {'feature_distance': the mean Euclidean distance}; {} if there is no network for these images.

    Raises:
      UserError: the network is missing, or does not fit the images.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> config = Config().replace(dataset='digits', image_size=16, image_channels=1)
      >>> truth = np.zeros([2, 16, 16, 1], np.uint8)
      >>> feature_distance(config, truth, truth[:, None])
      {'feature_distance': 0.0}
      >>> feature_distance(config.replace(image_channels=3), truth, truth[:, None])
      {}
    """
    if not (config.evaluation.extractor or config.evaluation.inception or agreement.knows(config.data)):
        return {}
    from drl_tf.evaluation import evaluator

    run = evaluator.load_extractor(config).run
    of_truth = run(truth)[0].repeat(results.shape[1], axis=0)
    of_results = run(results.reshape(-1, *results.shape[2:]))[0]
    return {'feature_distance': float(np.linalg.norm(of_results - of_truth, axis=1).mean())}


def _sums(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Sums the unknown pixels of each result; float [n, R]."""
    return np.where(unknown, values, 0.0).sum(axis=(2, 3, 4))


def write(
    root: str,
    images: Mapping[str, np.ndarray],
    results: np.ndarray,
    summary: Mapping[str, Any],
) -> dict[str, str]:
    """Writes results of editing: arrays (.npz), a picture (.png), and a summary (.json).

    Args:
      root: path of the files without their extensions.
      images: input images to show left of the results, {title of the column: uint8 [n, H, W, C]}.
      results: R results for each image, uint8 [n, R, H, W, C].
      summary: content of the JSON file, {name: JSON value}.

    Returns:
      Lines to print, {label: path}.
    """
    with written_aside(f'{root}.npz', 'wb') as file:
        np.savez(
            file,
            images=results.reshape(-1, *results.shape[2:]),
            **{f'input_{k}': v for k, v in images.items()},  # type: ignore[arg-type]
        )
    write_json(f'{root}.json', dict(summary))
    shown = results[:_MOST_ROWS, :_MOST_RESULTS]
    columns = [values[:_MOST_ROWS, None] for values in images.values()]
    header = [*images, *map(str, range(1, shown.shape[1] + 1))]
    columns.append(shown)
    if results.shape[1] > 1:
        deviation = results[:_MOST_ROWS].astype(float).std(axis=1, keepdims=True)
        columns.append(np.clip(np.round(2 * deviation), 0, 255).astype(np.uint8))
        header.append('spread')
    pictures.save_png(f'{root}.png', np.concatenate(columns, axis=1), header=header)
    return {'picture': f'{root}.png', 'results': f'{root}.npz', 'summary': f'{root}.json'}


def write_frames(root: str, frames: np.ndarray) -> dict[str, str]:
    """Writes an interpolation: a row of all frames (PNG), an animation (GIF), and arrays (.npz).

    The animation plays the frames forward, then backward, without end.

    Args:
      root: path of the files without their extensions.
      frames: the images in order, uint8 [n, H, W, C].

    Returns:
      Lines to print, {label: path}.
    """
    pictures.save_png(f'{root}.png', frames[None])
    scale = max(1, -(-_GIF_SIDE // max(frames.shape[1:3])))
    enlarged = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    turned: Sequence[np.ndarray] = [*enlarged, *enlarged[-2:0:-1]]
    first, *others = [Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in turned]
    with written_aside(f'{root}.gif', 'wb') as file:
        first.save(file, format='gif', save_all=True, append_images=others, duration=_FRAME_MS, loop=0)
    with written_aside(f'{root}.npz', 'wb') as file:
        np.savez(file, images=frames)
    return {'strip': f'{root}.png', 'animation': f'{root}.gif', 'frames': f'{root}.npz'}


def enlarged(images: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Enlarges degraded images to the shape of the original images, by repetition of pixels and channels.

    Args:
      images: float [n, h, w, c] in [-1, 1].
      image_shape: (H, W, C), multiples of (h, w, c).

    Returns:
      uint8 [n, H, W, C].
    """
    factors = [wanted // size for wanted, size in zip(image_shape, images.shape[1:], strict=True)]
    for axis, factor in enumerate(factors, 1):
        images = images.repeat(factor, axis=axis)
    return pixels.to_uint8(images)


def options_digest(config: Config, settings: Mapping[str, Any]) -> str:
    """Returns six hexadecimal digits, a hash of options, for the names of files with results.

    Results that were drawn with different options thus go to different files.

    Args:
      config: the configuration to draw with. The digits depend on its precision, its Langevin steps,
        `proposal`, `final_denoise`, and its sampling options except the batch size.
      settings: other options on which the digits depend, {name: value}.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> options_digest(Config(), {'mask': 'half'}) == options_digest(Config(), {'mask': '0,0,2,2'})
      False
    """
    sampling = dataclasses.asdict(config.sampling)
    del sampling['sample_batch_size']
    others = {'precision': config.training.precision, 'mcmc_steps': config.diffusion.mcmc_steps}
    diffusion = dict(chains.changed(config.diffusion, 'proposal', 'final_denoise'))
    chosen = {**settings, **sampling, **others, **diffusion}
    return digest(json.dumps(chosen, sort_keys=True))


def of_model(workdir: str, output_dir: str, step: int) -> dict[str, str]:
    """Returns what `options_digest` needs to know of the model, {name: value}.

    Results of several models may go to one directory. The names of their files then depend on the weights.

    Args:
      workdir: the run's directory, or the version directory of an exported model.
      output_dir: directory for the files; '': `<workdir>/editing`.
      step: training step of the checkpoint.

    Returns:
      A hash of the weights; {} in the directory of a run, which has one model only.
    """
    if not output_dir and exported.source(workdir) is None:
        return {}
    return {'model': checkpoint.fingerprint(workdir, step)}


def root_of(workdir: str, output_dir: str, parts: Sequence[str]) -> str:
    """Returns the path for files of results, without their extensions.

    Args:
      workdir: the run's directory.
      output_dir: directory for the files; '': `<workdir>/editing`.
      parts: words of the file name, which are joined by '-'; empty ones are left out.
    """
    return os.path.join(output_dir or os.path.join(workdir, 'editing'), '-'.join(filter(None, parts)))
