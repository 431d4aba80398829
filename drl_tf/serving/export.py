"""Exports models as SavedModels, which TensorFlow loads without this package (--mode=export)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from drl_tf import __version__
from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import check_writable, held, sync, write_json
from drl_tf.config import combinations
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.planning import memory
from drl_tf.runs import beginnings, checkpoint, exported
from drl_tf.serving import card, provenance, warmup
from drl_tf.serving.signatures import Export

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

_ASIDE = 'writing'
_FLAGS = 'train.flags'
_MOST_IMAGES = 1024
REQUEST_BYTES = 4 * 2**30


def export(
    config: Config,
    workdir: str,
    directory: str,
    max_samples: int,
    weights: Weights = Weights.EMA,
    step: int | None = None,
) -> dict[str, str]:
    """Exports the model of a run as a SavedModel, for TensorFlow Serving.

    Args:
      config: the configuration to export with; it decides how the exported model samples.
      workdir: the run's directory.
      directory: parent of version directories 1, 2, ...; the next one is created.
      max_samples: the largest number of images in a request. 0: 1,024, or fewer if their gradients would need
        more than 4 GiB.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint to export; None: the newest.

    Returns:
      Lines to print, {label: path}.

    Raises:
      UserError: there is no undamaged checkpoint, `directory` is a file or in use, or the model cannot be
        exported or written.

    Example:
      export(config, 'runs/digits', 'exports/digits', max_samples=64)
    """
    check(config, directory)
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32'), step)
    history = provenance.history(workdir, step, weights, model)
    trained = configuration.load(workdir)
    return write(model, config, step, directory, max_samples, weights, history, trained)


def check(config: Config, directory: str) -> None:
    """Checks that a model can be exported to a directory; raises UserError if not.

    Args:
      config: the configuration of the model.
      directory: the parent of the version directories; it need not exist yet.
    """
    combinations.check_exportable(config)
    check_writable(directory, '--export_dir')


def write(
    model: EnergyModel,
    config: Config,
    step: int,
    directory: str,
    max_samples: int,
    weights: Weights = Weights.EMA,
    history: Mapping[str, Any] = provenance.NOTHING,
    trained: Config | None = None,
) -> dict[str, str]:
    """Exports a model in memory as a SavedModel; a server sees the new version only when it is complete.

    Args:
      model: a float32 model, built outside any distribution strategy. To export averaged weights, call
        `model.ema_network.converge_u()` first: the spectral normalisation then fits these weights.
      config: the configuration to export with; it decides how the exported model samples.
      step: number of steps for which the model was trained.
      directory: parent of version directories 1, 2, ...; the next one is created.
      max_samples: the largest number of images in a request. 0: 1,024, or fewer if their gradients would need
        more than 4 GiB.
      weights: 'ema' (averages) or 'raw'.
      history: how the model was trained and scored, the dict that `provenance.history` returned. The model
        card reports it, and the signatures `log_likelihood` and `score` take log Z from it. The default is
        for a model of which nothing is known.
      trained: the configuration of the run that trained the model, for the card and `train.flags`; None:
        `config`.

    Returns:
      Lines to print, {label: path}.

    Raises:
      UserError: the version could not be written; existing versions stay.
    """
    log_z = _log_z(history)
    config = config.portable()
    trained = (trained or config).portable()
    max_samples = max_samples or most_images(model)
    with held(directory, '--export_dir'):
        versions = [int(name) for name in os.listdir(directory) if name.isdecimal()]
        final = os.path.join(directory, str(max(versions, default=0) + 1))
        aside = os.path.join(directory, _ASIDE)
        try:
            shutil.rmtree(aside, ignore_errors=True)
            module = Export(model, max_samples, weights, log_z, history['heights'])
            signatures = module.signatures()
            tf.saved_model.save(module, aside, signatures=signatures)
            beginning = {name: history[name] for name in beginnings.NEW}
            q = module.corrector_steps
            _describe(aside, config, step, weights, max_samples, log_z, q, beginning)
            warmup.write(os.path.join(aside, 'assets.extra'), signatures, config.image_shape)
            card.write_flags(os.path.join(aside, _FLAGS), trained)
            seal.seal(aside)
            card_file = os.path.join(aside, exported.CARD)
            card.write(card_file, final, model, trained, step, max_samples, weights, history)
            os.replace(aside, final)
            sync(directory)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f'{final} could not be written ({one_line(error)}): fix that and run the command again'
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return {'SavedModel': final, 'model card': os.path.join(final, exported.CARD)}


def most_images(model: EnergyModel) -> int:
    """Returns the default for the largest number of images in a request.

    The default is 1,024, or fewer if the gradients for 1,024 images would need more than 4 GiB.
    """
    return max(1, min(_MOST_IMAGES, int(REQUEST_BYTES / memory.chain_bytes_per_image(model))))


def _log_z(history: Mapping[str, Any]) -> list[float] | None:
    """Returns two estimates of log Z_0, the lower one first; None if there are none.

    For points of the plane, the estimates come from quadrature and annealing. For images, they come from
    integration along the levels and Bennett's ratio, or from annealing in both directions.
    """
    heights = history['heights']
    likelihood = history['likelihood']
    density = history['density']
    if density:
        level = density['levels']['0']
        return sorted([level['log_z_quadrature'], level['log_z_annealed']])
    if heights:
        return heights['log_z_0']
    if likelihood:
        return sorted([likelihood['log_z_low'], likelihood['log_z_high']])
    return None


def _describe(
    path: str,
    config: Config,
    step: int,
    weights: Weights,
    max_samples: int,
    log_z: Sequence[float] | None,
    corrector_steps: Sequence[float] | None,
    beginning: Mapping[str, Any],
) -> None:
    """Writes the configuration, and in `assets.extra/` a description for clients."""
    config.save(path)
    description = {
        'drl_tf': __version__,
        'dataset': config.data.dataset,
        'image_shape': config.image_shape,
        'num_levels': config.diffusion.num_levels,
        'num_classes': config.data.num_classes,
        'mcmc_steps': config.diffusion.mcmc_steps,
        'noise_scale': config.sampling.noise_scale,
        'prior': config.sampling.prior,
        'step_scale': config.sampling.step_scale,
        'sampling_steps': config.sampling.sampling_steps,
        'langevin_rule': config.sampling.langevin_rule,
        'corrector': config.corrector,
        'corrector_steps': corrector_steps,
        'final_denoise': config.diffusion.final_denoise,
        'max_samples': max_samples,
        'weights': weights,
        'checkpoint_step': step,
        'log_z': log_z,
        **beginning,
    }
    write_json(os.path.join(path, exported.DESCRIPTION), description)
