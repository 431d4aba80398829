"""A run as a directory: its configuration, checkpoints, rollbacks, logs and pictures.

Nothing here knows of several workers: where there are some, the chief alone has the `Run` (see
`workers.OnChief`).
"""

import functools
import json
import os
import shutil
import time

import tensorflow as tf
from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.base.files import LOCK, named, put_aside, read_json, write_json
from drl_tf.config import config as configuration
from drl_tf.runs import checkpoint, exported, pictures, step_log

METRICS, SCORES = 'metrics.jsonl', 'evaluations.jsonl'
_ROLLBACKS = 'rollbacks.json'
_COMPARABLE = ('num_samples', 'extractor_hash', 'real')  # Scores that differ in these do not compare.


class Run:
    """Reads and writes what a run keeps in its workdir.

    Args:
      workdir: the directory.
    """

    def __init__(self, workdir):
        self.workdir = workdir

    def path(self, name):
        return os.path.join(self.workdir, name)

    def steps(self):
        """Steps of the checkpoints, oldest first."""
        return checkpoint.steps(self.workdir)

    def has_weights(self):
        """Whether there are weights to start another run from."""
        return bool(self.steps() or exported.source(self.workdir))

    def put_aside(self, init_from):
        """Moves the run to a directory beside it, and returns that; None where the workdir is empty."""
        workdir = self.workdir
        if init_from and os.path.realpath(init_from) == os.path.realpath(workdir):
            raise UserError(
                f'--restart with --init_from={init_from}, the same directory: give another --workdir'
            )
        others = set(os.listdir(workdir)) - {LOCK, 'config.json', 'checkpoints'}
        if others and not os.path.exists(self.path('config.json')) and not self.steps():
            raise UserError(
                f'--workdir={workdir} holds no run but {", ".join(sorted(others))[:100]}: give another for '
                '--restart'
            )
        return put_aside(workdir)

    def compare(self, config):
        """Refuses another configuration than that of the run that was begun here; says which harmless options
        differ."""
        workdir = self.workdir
        if exported.source(workdir):
            raise UserError(
                f'--workdir={workdir} uses an exported model: give another, and --init_from={workdir} to '
                'start from its weights'
            )
        if not self.steps():
            return
        stored, harmless = configuration.load(workdir), ('resume', 'always', 'scores')
        differences = config.differences(stored, lambda field: field.metadata['changes'] not in harmless)
        if differences:
            raise UserError(
                f'--workdir={workdir} holds another run ({"; ".join(differences)}): give the same flags, or '
                'another --workdir'
            )
        changes = config.differences(stored, lambda field: field.metadata['changes'] in harmless)
        if changes:
            print(f'changed: {"; ".join(changes)}')

    def save_config(self, config):
        config.save(self.workdir)

    def set_aside_after(self, step, reason):
        checkpoint.set_aside_after(self.workdir, step, reason)

    def changed_surroundings(self, step, deterministic):
        """As `checkpoint.changed_surroundings`."""
        return checkpoint.changed_surroundings(self.workdir, step, deterministic)

    def step_back(self, rollbacks, step):
        """Notes a further rollback, to the newest checkpoint.

        Where an earlier rollback came after that checkpoint already, it leads to divergence again: it is put
        aside, and the rollback is to the one before.
        """
        present = checkpoint.steps(self.workdir)
        if len(present) > 1 and any(step > present[-1] for step in rollbacks):
            checkpoint.set_aside_after(self.workdir, present[-2], 'diverged')
        write_json(self.path(_ROLLBACKS), [*rollbacks, step])

    def rollbacks(self):
        """The steps at which the run diverged so far, with which a rerun draws and learns as the run did."""
        path = self.path(_ROLLBACKS)
        if not os.path.exists(path):
            return []
        try:
            return [int(step) for step in read_json(path, list)]
        except (ValueError, TypeError) as error:
            raise UserError(
                f'{path} is damaged ({error}): remove it to train with full learning rates, or --restart'
            ) from error

    def write_json(self, name, value):
        write_json(self.path(name), value)

    def drop_lines_after(self, name, step):
        """Removes the lines of later steps from a log."""
        step_log.drop_after(self.path(name), step)

    def last_line(self, name):
        """The step of the last line of a log; 0 where there is none."""
        return step_log.last_step(self.path(name))

    def append(self, name, line, prefix=''):
        """Appends a line, a dict with 'step', to a log, and its numbers to TensorBoard."""
        with named(self.path(name)), open(self.path(name), 'a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')
        with self._tensorboard.as_default(step=line['step']):
            for label, value in _scalars(line):
                tf.summary.scalar(prefix + label, value)
            self._tensorboard.flush()

    def save_grid(self, step, cells, captions):
        """Writes a grid of images, uint8 [rows, columns, H, W, C], as PNG and for TensorBoard."""
        path = self.path(os.path.join('samples', f'{step:08d}.png'))
        pictures.save_png(path, cells, **captions)
        with self._tensorboard.as_default(step=step):
            tf.summary.image('samples', pictures.tile(cells)[None])
            self._tensorboard.flush()

    @functools.cached_property
    def _tensorboard(self):
        return tf.summary.create_file_writer(self.path('tensorboard'))

    def keep_score(self, step, score, name, samples):
        """Notes a score, keeps its checkpoint where it is the best, and removes the samples.

        Args:
          step: of the checkpoint.
          score: a result of `metrics.score.score`.
          name: the entry that decides, the lower the better.
          samples: name of the directory of the samples.
        """
        self._keep_best(step, {key: score[key] for key in (name, *_COMPARABLE)}, name)
        self.append(SCORES, {'step': step, 'time': time.time(), **score}, 'evaluation/')
        shutil.rmtree(self.path(samples))

    def _keep_best(self, step, measure, name):
        """Keeps the checkpoint where it is the best of its kind of score; the best one of another kind is put
        aside."""
        best = checkpoint.best_score(self.workdir)
        if best and (
            not isinstance(best.get(name), (int, float))
            or any(measure[key] != best.get(key) for key in _COMPARABLE)
        ):
            aside = checkpoint.put_best_aside(self.workdir)
            logging.warning(
                'the best checkpoint so far, of other samples or real images, is now in %s', aside
            )
            best = None
        if best is None or measure[name] < best[name]:
            checkpoint.keep_best(self.workdir, step, measure)


def _scalars(line):
    """Flattens a line of the log into (name, number), one per level where a value has one."""
    for name, value in line.items():
        if isinstance(value, list):
            yield from ((f'{name}/{t}', number) for t, number in enumerate(value) if number is not None)
        elif name not in ('step', 'time') and isinstance(value, float):
            yield name, value
