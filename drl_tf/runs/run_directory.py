"""The directory of a run: its configuration, checkpoints, logs and pictures.

With several workers, only the chief reads and writes these files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.base.files import LOCK, named, put_aside, read_json, write_json
from drl_tf.config import config as configuration
from drl_tf.config import objectives
from drl_tf.distributed import chief
from drl_tf.runs import checkpoint, exported, pictures, step_log, workdirs

if TYPE_CHECKING:
    from drl_tf.config.config import Config

METRICS = 'metrics.jsonl'
SCORES = 'evaluations.jsonl'
ROLLBACKS = 'rollbacks.json'
START = 'start.json'  # Which other model the first weights come from; missing for new weights.
_COMPARABLE = ('num_samples', 'extractor_hash', 'real')  # Scores that differ in these cannot be compared.


@contextlib.contextmanager
def opened(workdir: str) -> Iterator[Any]:
    """Context manager: locks a workdir, and yields its `Run`.

    With several workers, all must call the same methods of the `Run` together; only the chief (the first
    worker) runs them, and all get the results.

    Args:
      workdir: path of the directory; it is created if it is missing.

    Raises:
      UserError: another run has locked the directory, or a worker does not see it on its file system.
    """
    with chief.held(workdir):
        yield chief.Proxy(lambda: Run(workdir))


class Run:
    """Reads and writes the files in a run's directory, the workdir.

    Args:
      workdir: path of the directory.
    """

    def __init__(self, workdir: str):
        self.workdir = workdir

    def path(self, name: str) -> str:
        """Returns the path of the file `name` in the workdir."""
        return os.path.join(self.workdir, name)

    def steps(self) -> list[int]:
        """Returns the training steps for which the workdir has checkpoints, ascending."""
        return workdirs.steps(self.workdir)

    def put_aside(self, init_from: str | None) -> str | None:
        """Moves the run in the workdir to a new directory beside it, for --restart.

        Args:
          init_from: value of --init_from, the run whose weights the new run takes; None: none.

        Returns:
          The new directory; None if the workdir was empty.

        Raises:
          UserError: `init_from` is or lies in the workdir, or the workdir holds files but no run.
        """
        workdir = self.workdir
        place = os.path.realpath(workdir)
        if init_from and os.path.commonpath([place, os.path.realpath(init_from)]) == place:
            raise UserError(f'--restart would move --init_from={init_from} too: give another --workdir')
        others = set(os.listdir(workdir)) - {LOCK, START, 'config.json', 'checkpoints'}
        if others and not os.path.exists(self.path('config.json')) and not self.steps():
            names = ', '.join(sorted(others))[:100]
            raise UserError(f'--workdir={workdir} holds no run but {names}: give another for --restart')
        return put_aside(workdir)

    def compare(self, config: Config) -> None:
        """Checks that training may continue the run in the workdir with a configuration.

        Some options, such as `log_every`, may change when a run continues; their changes are printed. Other
        options, such as those of the network, must stay. Without a checkpoint, any configuration passes.

        Args:
          config: the configuration to train with.

        Raises:
          UserError: an option differs that must stay, or the workdir uses an exported model.
        """
        workdir = self.workdir
        if exported.source(workdir):
            raise UserError(
                f'--workdir={workdir} uses an exported model: give another, and --init_from={workdir} to '
                'start from its weights'
            )
        if not self.steps():
            return
        stored = configuration.load(workdir)

        def is_harmless(field: dataclasses.Field[Any]) -> bool:
            if field.name == 'precision' and objectives.compares_densities(config):
                return True  # Training takes float32 then, whatever the option says.
            return field.metadata['changes'] in ('resume', 'always', 'scores')

        differences = config.differences(stored, lambda field: not is_harmless(field))
        if differences:
            raise UserError(
                f'--workdir={workdir} holds another run ({"; ".join(differences)}): give the same flags, or '
                'another --workdir'
            )
        changes = config.differences(stored, is_harmless)
        if changes:
            print(f'changed: {"; ".join(changes)}')

    def save_config(self, config: Config) -> None:
        """Writes the configuration to `config.json` in the workdir."""
        config.save(self.workdir)

    def set_aside_after(self, step: int, reason: str) -> None:
        """Renames the checkpoints of steps above `step`, so that no run uses them.

        If the best checkpoint is of such a step, `best/` moves to `best.1` (or .2, ...).

        Args:
          step: training step of the last checkpoint to keep.
          reason: word that begins the new names: 'damaged' renames `00000070` to `damaged-70`.
        """
        checkpoint.set_aside_after(self.workdir, step, reason)
        best = checkpoint.best_score(self.workdir)
        if best and best['step'] > step:
            kept = checkpoint.put_best_aside(self.workdir)
            logging.warning('Step %d, the best so far, is set aside too: it is now in %s', best['step'], kept)

    def changed_surroundings(self, step: int, deterministic: bool) -> list[str]:
        """Compares this process with the one that wrote a checkpoint: their hardware and software.

        Args:
          step: training step of the checkpoint.
          deterministic: whether this process runs deterministic operations only, which is compared as well.

        Returns:
          One text for each difference; [] if there is none.
        """
        return checkpoint.changed_surroundings(self.workdir, step, deterministic)

    def step_back(self, rollbacks: Sequence[int], step: int) -> None:
        """Prepares the run to resume from an earlier checkpoint, after training has diverged.

        Writes the list `rollbacks`, followed by `step`, to `rollbacks.json`. Training resumes from the newest
        checkpoint, unless `rollbacks` has a step above the checkpoint's own step: then training has diverged
        after this checkpoint before. In that case, the checkpoint is renamed, and training resumes from the
        one before it. The only checkpoint of a run is never renamed.

        Args:
          rollbacks: steps at which training diverged earlier, without `step`.
          step: step at which training diverged now.
        """
        present = workdirs.steps(self.workdir)
        if len(present) > 1 and any(step > present[-1] for step in rollbacks):
            self.set_aside_after(present[-2], 'diverged')
        write_json(self.path(ROLLBACKS), [*rollbacks, step])

    def rollbacks(self) -> list[int]:
        """Returns the steps at which training diverged and went back to an earlier checkpoint.

        Raises:
          UserError: `rollbacks.json` is damaged.
        """
        path = self.path(ROLLBACKS)
        if not os.path.exists(path):
            return []
        try:
            return [int(step) for step in read_json(path, list)]
        except (ValueError, TypeError) as error:
            raise UserError(
                f'{path} is damaged ({error}): remove it to train with full learning rates, or --restart'
            ) from error

    def forget_rollbacks(self) -> None:
        """Removes `rollbacks.json`, which holds the result of `rollbacks`."""
        os.remove(self.path(ROLLBACKS))

    def record_start(self, start: Mapping[str, Any]) -> None:
        """Writes to `start.json` which other model the first weights come from.

        Args:
          start: a dict {name: JSON value} about that model; {} for new weights, which removes the file.
        """
        path = self.path(START)
        if start:
            write_json(path, start)
        elif os.path.exists(path):
            os.remove(path)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as JSON to the file `name` in the workdir."""
        write_json(self.path(name), value)

    def drop_lines_after(self, name: str, step: int) -> None:
        """Removes the lines of steps above `step` from a log; an interrupted run may have left them.

        Args:
          name: name of the log file in the workdir, such as 'metrics.jsonl'.
          step: the last training step to keep.
        """
        step_log.drop_after(self.path(name), step)

    def last_line(self, name: str) -> float:
        """Returns the highest training step in the log `name` in the workdir; 0 if it is missing or empty."""
        return step_log.last_step(self.path(name))

    def append(self, name: str, line: Mapping[str, Any], prefix: str = '') -> None:
        """Appends a line to a log in the workdir, and writes its numbers to TensorBoard.

        Args:
          name: name of the log file in the workdir, such as 'metrics.jsonl'.
          line: {name: JSON value}; the entry 'step' is the training step.
          prefix: text before each name in TensorBoard.
        """
        with named(self.path(name)), open(self.path(name), 'a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')
        with self._tensorboard.as_default(step=line['step']):
            for label, value in _scalars(line):
                tf.summary.scalar(prefix + label, value)
            self._tensorboard.flush()

    def save_grid(self, step: int, cells: np.ndarray, captions: Mapping[str, Any]) -> None:
        """Writes a grid of images to `samples/<step>.png` in the workdir, and to TensorBoard.

        Args:
          step: the training step.
          cells: the images, uint8 [rows, columns, H, W, C].
          captions: texts in the picture, a dict with none, some or all of 'header' (one text above each
            column), 'side' (one left of each row) and 'captions' (for each row, one above each image).
        """
        path = self.path(os.path.join('samples', f'{step:08d}.png'))
        pictures.save_png(path, cells, **captions)
        with self._tensorboard.as_default(step=step):
            tf.summary.image('samples', pictures.tile(cells)[None])
            self._tensorboard.flush()

    @functools.cached_property
    def _tensorboard(self) -> tf.summary.SummaryWriter:
        return tf.summary.create_file_writer(self.path('tensorboard'))

    def keep_score(self, step: int, score: Mapping[str, Any], name: str, samples: str) -> None:
        """Logs the scores of a checkpoint, copies it to `best/` if it is the best, and deletes its samples.

        Args:
          step: training step of the checkpoint.
          score: the dict {name: JSON value} of scores that `evaluation.metrics.score.score` returns.
          name: the key of `score` by which checkpoints are compared; the lowest value is best.
          samples: directory of the scored samples, relative to the workdir.
        """
        self._keep_best(step, {key: score[key] for key in (name, *_COMPARABLE)}, name)
        self.append(SCORES, {'step': step, 'time': time.time(), **score}, 'evaluation/')
        shutil.rmtree(self.path(samples))

    def _keep_best(self, step: int, measure: Mapping[str, Any], name: str) -> None:
        """Keeps the checkpoint if it is the best so far; sets a former best aside if not comparable."""
        best = checkpoint.best_score(self.workdir)
        if best and (
            not isinstance(best.get(name), (int, float))
            or any(measure[key] != best.get(key) for key in _COMPARABLE)
        ):
            aside = checkpoint.put_best_aside(self.workdir)
            logging.warning(
                'the best checkpoint so far was scored on other samples or real images: it is now in %s',
                aside,
            )
            best = None
        if best is None or measure[name] < best[name]:
            checkpoint.keep_best(self.workdir, step, measure)


def _scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields (name, number) for TensorBoard; a list of one number per level becomes name/0, name/1, ..."""
    for name, value in line.items():
        if isinstance(value, list):
            yield from ((f'{name}/{t}', number) for t, number in enumerate(value) if number is not None)
        elif name not in ('step', 'time') and isinstance(value, float):
            yield name, value
