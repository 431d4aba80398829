"""SavedModels that TensorFlow Serving and any TensorFlow process can load without this package."""

import dataclasses
import os
import shutil

import tensorflow as tf

from drl_tf import __version__
from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import check_writable, held, sync, write_json
from drl_tf.config import combinations
from drl_tf.config.config import Evaluation
from drl_tf.planning import memory
from drl_tf.runs import checkpoint, exported
from drl_tf.serving import card, provenance, warmup
from drl_tf.serving.signatures import Export

_ASIDE = 'writing'
_MOST_IMAGES, REQUEST_BYTES = 1024, 4 * 2**30


def export(config, workdir, directory, max_samples, weights='ema', step=None):
    """Writes a run as the next version of a SavedModel.

    Args:
      config: a `Config`; its K and noise scale are those of the signatures.
      workdir: the directory of the run.
      directory: parent of the integer version folders.
      max_samples: the largest number of images of one request, which are one batch; 0 takes 1,024, or as many
        as a gradient in 4 GiB has.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: there is no sound checkpoint, `directory` is a file or in use, or the model cannot be
        exported or written.
    """
    check(config, directory)
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32'), step)
    return write(
        model, config, step, directory, max_samples, weights, provenance.history(workdir, step, weights)
    )


def check(config, directory):
    """Raises UserError for what cannot be exported, or not there."""
    combinations.check_exportable(config)
    check_writable(directory, '--export_dir')


def write(model, config, step, directory, max_samples, weights='ema', history=provenance.NOTHING):
    """Writes a model as the next version of a SavedModel, aside and renamed: a server that looks there sees
    it whole.

    Args:
      model: a float32 `RecoveryLikelihood`, built outside any strategy, its u converged.
      config: the `Config` of its run.
      step: how many steps it was trained.
      directory, max_samples, weights: as in `export`.
      history: what is known of its training, for the card, and of log Z, for the signature `log_likelihood`;
        see `provenance.history`.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: it could not be written; the versions that are there are as they were.
    """
    log_z, max_samples = _log_z(history), max_samples or most_images(model)
    with held(directory, '--export_dir'):
        versions = [int(name) for name in os.listdir(directory) if name.isdecimal()]
        final, aside = (
            os.path.join(directory, str(max(versions, default=0) + 1)),
            os.path.join(directory, _ASIDE),
        )
        try:
            shutil.rmtree(aside, ignore_errors=True)
            module = Export(model, max_samples, weights, log_z)
            signatures = module.signatures()
            tf.saved_model.save(module, aside, signatures=signatures)
            _describe(
                aside,
                config,
                step,
                weights,
                max_samples,
                log_z,
                {name: history[name] for name in provenance.BEGINNING},
            )
            warmup.write(os.path.join(aside, 'assets.extra'), signatures, config.image_shape)
            seal.seal(aside)
            card.write(
                os.path.join(aside, exported.CARD), final, model, config, step, max_samples, weights, history
            )
            os.replace(aside, final)
            sync(directory)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f'{final} could not be written ({one_line(error)}): put that right, and give the command '
                'again'
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return {'SavedModel': final, 'model card': os.path.join(final, exported.CARD)}


def most_images(model):
    """How many images a request may have where nothing is said."""
    return max(1, min(_MOST_IMAGES, int(REQUEST_BYTES / memory.chain_bytes_per_image(model))))


def _log_z(history):
    """log Z_0 from two sides, a list in order: annealing either way, for points quadrature and annealing, or
    both ways of `core.heights`; None where it is not known."""
    known = history['likelihood']
    points = history['density']
    if history['direct']:
        return sorted(estimate['log_z'][0] for estimate in history['direct']['heights'].values())
    if points:
        level = points['levels']['0']
        return sorted([level['log_z_quadrature'], level['log_z_annealed']])
    return known and sorted([known['log_z_low'], known['log_z_high']])


def _describe(path, config, step, weights, max_samples, log_z, beginning):
    """Notes what was exported: the configuration without paths of this machine, and in `assets.extra/` what a
    client may ask."""
    portable = dataclasses.replace(config.replace(data_dir='', manual_dir=''), evaluation=Evaluation())
    portable.save(path)
    card.write_flags(os.path.join(path, 'train.flags'), portable)
    description = {
        'drl_tf': __version__,
        'dataset': config.data.dataset,
        'image_shape': config.image_shape,
        'num_levels': config.diffusion.num_levels,
        'num_classes': config.data.num_classes,
        'mcmc_steps': config.diffusion.mcmc_steps,
        'noise_scale': config.sampling.noise_scale,
        'step_scale': config.sampling.step_scale,
        'final_denoise': config.diffusion.final_denoise,
        'max_samples': max_samples,
        'weights': weights,
        'checkpoint_step': step,
        'log_z': log_z,
        **beginning,
    }
    write_json(os.path.join(path, exported.DESCRIPTION), description)
