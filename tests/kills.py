"""Kills training at random instants and counts the runs that still end with the bits of one that was left alone.

    python tests/kills.py --kills=50 [--recipe=cdrl]

Each killed run is started again with the same command, to its end. Compared are all variables of the last checkpoint (weights,
u, averages, optimizers, step, sums for the log) and the log of metrics but for its clock.
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
from tiny import TINY

from drl_tf import checkpoint, cli

_STEPS = 60
_CLOCK = ('time', 'images_per_second')


def train(workdir, recipe):
    """The tiny run: a checkpoint every other step, a line of the log every third."""
    with open(os.devnull, 'w', encoding='utf-8') as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    options = [f'--recipe={recipe}', '--initializer_channels=8', '--checkpoint_every=2', '--log_every=3', '--grid_every=1000']
    raise SystemExit(cli.main(['run.py', *TINY, *options, f'--train_steps={_STEPS}', f'--workdir={workdir}']))


def state(workdir, step=_STEPS):
    """What must be equal: {variable: array} of a checkpoint, and the lines of the log without the clock."""
    reader = tf.train.load_checkpoint(os.path.join(checkpoint.directory(workdir), f'{step:08d}', 'state'))
    variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
    return variables, [{key: value for key, value in line.items() if key not in _CLOCK} for line in lines]


def equal(first, second):
    """Whether two states are the same bits."""
    (mine, my_log), (theirs, their_log) = first, second
    same_names = mine.keys() == theirs.keys() and len(mine) > 50
    return same_names and my_log == their_log and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def survivors(recipe, kills, directory, seed=0):
    """How many of `kills` killed runs ended as the one that was left alone did; prints each.

    Args:
      recipe: 't6' or 'cdrl'.
      kills: how many runs are killed.
      directory: a `pathlib.Path` for the runs.
      seed: of the instants.
    """
    processes = multiprocessing.get_context('forkserver')
    processes.set_forkserver_preload(['drl_tf.train', 'drl_tf.evaluate', 'drl_tf.export', 'drl_tf.sweep'])

    def start(workdir):
        process = processes.Process(target=train, args=(workdir, recipe))
        process.start()
        return process

    def finish(workdir):
        process = start(workdir)
        process.join()
        assert process.exitcode == 0, f'the run in {workdir} ended with code {process.exitcode}'

    finish(directory / 'warm')
    begin = time.monotonic()
    finish(directory / 'alone')
    duration, alone, instants = time.monotonic() - begin, state(directory / 'alone'), random.Random(seed)
    survived, killed = 0, 0
    while killed < kills:
        workdir = directory / f'killed-{killed}'
        process, instant = start(workdir), instants.uniform(0, duration)
        process.join(instant)
        if process.exitcode is not None:
            shutil.rmtree(workdir)
            continue
        process.kill()
        process.join()
        steps = checkpoint.steps(workdir)
        finish(workdir)
        survived, killed = survived + equal(state(workdir), alone), killed + 1
        print(f'{recipe}: killed after {instant:.1f} s, newest checkpoint {steps[-1:]}: {survived}/{killed} bit-equal', flush=True)
    return survived


def main(_):
    recipes = [flags.FLAGS.recipe] if flags.FLAGS.recipe else ['t6', 'cdrl']
    with tempfile.TemporaryDirectory() as directory:
        for recipe in recipes:
            survived = survivors(recipe, flags.FLAGS.kills, pathlib.Path(directory) / recipe)
            print(f'{recipe}: {survived}/{flags.FLAGS.kills} killed runs ended bit-equal to the one that was left alone')


if __name__ == '__main__':
    flags.DEFINE_integer('kills', 50, 'How many runs of each recipe are killed.')
    flags.DEFINE_string('recipe', '', 't6 or cdrl; both where empty.')
    app.run(main)
