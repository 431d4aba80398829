"""Kills training at random instants and counts the runs that still end with the bits of one that was left
alone.

    python -m drl_tf.tools.kills --kills=50 [--recipe=cdrl]

Each killed run is started again with the same command, to its end. Compared are all variables of the last
checkpoint (weights, u, averages, optimizers, step, sums for the log), the logs of metrics and of evaluations
but for their clock, and the best checkpoint.
"""

import json
import multiprocessing
import os
import pathlib
import random
import shutil
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from drl_tf.cli.main import main as command_line
from drl_tf.runs import checkpoint

STEPS = 60
OPTIONS = [
    '--dataset=digits', '--recipe=t6', '--image_size=16', '--num_classes=0', '--channels=8',
    '--num_res_blocks=1',
    '--batch_size=8', '--learning_rate=1e-3', '--warmup_steps=0', '--precision=float32',
    '--max_minutes=0', '--sample_batch_size=16', '--channel_mult=1', '--num_levels=2', '--mcmc_steps=2',
    '--initializer_channels=8', '--initializer_mult=1', '--noinitializer_attention', '--max_loss=1000',
    '--grid_every=0', '--checkpoint_every=2', '--log_every=3', '--evaluate_every=25',
    '--evaluate_samples=32', '--num_real=80', f'--train_steps={STEPS}',
]  # fmt: skip
_CLOCK = ('time', 'images_per_second')
_ROUNDING = 2e-5


def train(workdir, recipe):
    """The tiny run: a checkpoint every other step, a line of the log every third, two evaluations."""
    with open(os.devnull, 'w', encoding='utf-8') as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    raise SystemExit(command_line(['run.py', *OPTIONS, f'--recipe={recipe}', f'--workdir={workdir}']))


def state(workdir, step=STEPS):
    """What must be equal: {variable: array} of a checkpoint, the lines of the logs without the clock, and
    which checkpoint is best."""
    reader = tf.train.load_checkpoint(os.path.join(checkpoint.directory(workdir), f'{step:08d}', 'state'))
    variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    logs = sorted(workdir.glob('*.jsonl'))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    best = json.loads((workdir / 'best' / 'best.json').read_text()) if (workdir / 'best').exists() else {}
    lines.append({**best, 'kept': sorted(path.name for path in workdir.glob('best/0*'))})
    return variables, [{key: value for key, value in line.items() if key not in _CLOCK} for line in lines]


def equal(first, second):
    """Whether two states are the same bits."""
    (mine, my_log), (theirs, their_log) = first, second
    same_names = mine.keys() == theirs.keys() and len(mine) > 50
    return (
        same_names and my_log == their_log and all(np.array_equal(mine[name], theirs[name]) for name in mine)
    )


def assert_same(first, second, step, rounding=_ROUNDING):
    """Variables, moments of the optimizers and logs agree but for the rounding of float32."""
    (mine, my_log), (theirs, their_log) = (state(workdir, step) for workdir in (first, second))
    assert mine.keys() == theirs.keys() and len(mine) > 50
    for name in mine:
        if 'adam' in name:
            assert np.linalg.norm(mine[name] - theirs[name]) <= 1e-2 * np.linalg.norm(mine[name]) + 1e-8, name
        elif getattr(mine[name], 'dtype', None) == np.float32 and not name.startswith('level_means'):
            np.testing.assert_allclose(mine[name], theirs[name], atol=rounding, rtol=1e-4, err_msg=name)
    assert [(line.get('step'), line.get('kept')) for line in my_log] == [
        (line.get('step'), line.get('kept')) for line in their_log
    ]
    for line, other in zip(my_log, their_log, strict=True):
        for key in ('loss', 'gradient_norm', 'level_loss', 'level_f_pos', 'initializer_loss'):
            if key in line:
                np.testing.assert_allclose(
                    np.float64(line[key]), np.float64(other[key]), rtol=1e-3, atol=1e-4, err_msg=key
                )


class Runs:
    """Starts the tiny run of a recipe, each time in a process of its own.

    Args:
      recipe: 't6' or 'cdrl'.
    """

    def __init__(self, recipe):
        self.recipe = recipe
        self.processes = multiprocessing.get_context('forkserver')
        self.processes.set_forkserver_preload(['drl_tf.training.train', 'drl_tf.evaluation.evaluate'])
        self._start(int).join()

    def _start(self, target, *arguments):
        process = self.processes.Process(target=target, args=arguments)
        process.start()
        return process

    def finish(self, workdir):
        """Runs to the end; returns how many seconds that took."""
        begin = time.monotonic()
        process = self._start(train, workdir, self.recipe)
        process.join()
        _check_exit(process, workdir)
        return time.monotonic() - begin

    def kill(self, workdir, instant):
        """Kills a new run after `instant` seconds; returns False if it had ended by then."""
        process = self._start(train, workdir, self.recipe)
        process.join(instant)
        if process.exitcode is not None:
            _check_exit(process, workdir)
            return False
        process.kill()
        process.join()
        return True


def _check_exit(process, workdir):
    assert process.exitcode == 0, f'the run in {workdir} ended with code {process.exitcode}'


def survivors(recipe, kills, directory, seed=0):
    """How many of `kills` killed runs ended as the one that was left alone did; prints each, and what a kill
    cost.

    Args:
      recipe: 't6' or 'cdrl'.
      kills: how many runs are killed.
      directory: a `pathlib.Path` for the runs.
      seed: of the instants.
    """
    runs = Runs(recipe)
    duration = runs.finish(directory / 'alone')
    alone = state(directory / 'alone')
    instants = random.Random(seed)
    survived = 0
    torn = 0
    lost = []
    while len(lost) < kills:
        workdir = directory / f'killed-{len(lost)}'
        instant = instants.uniform(0, duration)
        if not runs.kill(workdir, instant):
            shutil.rmtree(workdir)
            continue
        where = _left_behind(workdir)
        torn += _is_torn(workdir)
        lost.append(instant + runs.finish(workdir) - duration)
        survived += equal(state(workdir), alone)
        print(
            f'{recipe}: killed after {instant:.1f} of {duration:.1f} s, {where}: {survived}/{len(lost)} '
            'bit-equal',
            flush=True,
        )
    print(
        f'{recipe}: {torn} kills within the writing of a file; a kill cost {np.mean(lost):.1f} s on average'
    )
    return survived


def _is_torn(workdir):
    return any(workdir.rglob('*writing*'))


def _left_behind(workdir):
    """What a killed run left, in words."""
    steps = checkpoint.steps(workdir)
    torn = ', a file half written' if _is_torn(workdir) else ''
    return f'newest checkpoint {steps[-1] if steps else "none"}{torn}'


def main(_):
    recipes = [flags.FLAGS.recipe] if flags.FLAGS.recipe else ['t6', 'cdrl']
    with tempfile.TemporaryDirectory() as directory:
        for recipe in recipes:
            survived = survivors(recipe, flags.FLAGS.kills, pathlib.Path(directory) / recipe)
            print(
                f'{recipe}: {survived}/{flags.FLAGS.kills} killed runs ended bit-equal to the one that was '
                'left alone'
            )


if __name__ == '__main__':
    flags.DEFINE_integer('kills', 50, 'How many runs of each recipe are killed.')
    flags.DEFINE_string('recipe', '', 't6 or cdrl; both where empty.')
    app.run(main)
