"""Chooses the first step and the first weights of training: those of the newest checkpoint, or new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import logging

from drl_tf.config import objectives
from drl_tf.config.training_options import LOSSES_OF_HEIGHTS
from drl_tf.core.weights import Weights
from drl_tf.runs import checkpoint
from drl_tf.training import other_run

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
    from drl_tf.runs.run_directory import Run


def starting_step(
    model: RecoveryLikelihood, run: Run, workdir: str, init_from: str | None, weights: Weights
) -> int:
    """Loads the weights to start from, and returns the number of training steps that are done.

    The newest undamaged checkpoint in the workdir is restored. Without any checkpoint, the result is 0, and
    the model gets the weights of the run in `init_from`, which `start.json` in the workdir then names; if
    `init_from` is None, the model keeps its initial weights.

    Args:
      model: the model to train, with its optimizers.
      run: reads and writes the files of the workdir. With several workers, it works on the chief (the first
        worker).
      workdir: the run's directory.
      init_from: directory of another run whose weights a new run takes; None: none.
      weights: which weights of `init_from` to take: 'ema' (averages) or 'raw'.

    Raises:
      UserError: all checkpoints are damaged, the weights of `init_from` do not fit the model, or the run in
        the workdir did not start from them.
    """
    config = model.config
    if run.steps():
        if init_from:
            other_run.check_record(workdir, init_from, weights)
        step = checkpoint.restore(model, workdir)
        run.set_aside_after(step, 'damaged')
        print(f'resuming at step {step}')
        changed = run.changed_surroundings(step, config.training.deterministic)
        if changed:
            listed = '; '.join(changed)
            logging.warning('this run will not be bit-identical to an uninterrupted one: %s', listed)
        return step
    run.record_start(other_run.take(model, init_from, weights) if init_from else {})
    if not init_from:
        _warn_of_heights_before_slopes(config)
    if objectives.hides_no_class(config):
        logging.warning(
            'With --label_dropout=0, only images of no class (label -1) teach the energy without a class, '
            'which guidance, compose, likelihood, score, ood and inpainting use: give --label_dropout=0.1 '
            'for them'
        )
    return 0


def _warn_of_heights_before_slopes(config: Config) -> None:
    """Warns if a new model of images learns heights from the first step on, which spoils its samples."""
    options = config.training
    given = [f'--{name}' for name in LOSSES_OF_HEIGHTS if getattr(options, name)]
    if given and not options.heights_after and not config.planar:
        logging.warning(
            '%s from the first step on can spoil the samples: teach the slopes first, by --heights_after=N '
            'or --init_from=RUN',
            ', '.join(given),
        )
