"""Kills training at random times, resumes it, and counts the runs that end with the same bits.

    python -m drl_tf.tools.kills --kills=50 [--recipe=cdrl]

A resumed run must equal a run that was never killed: in all variables of the last checkpoint, in the logs
(except times), and in the best checkpoint.
"""

import json
import multiprocessing
import os
import pathlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from drl_tf.cli.main import main as command_line
from drl_tf.runs import workdirs

STEPS = 60
OPTIONS = [
    '--dataset=digits',
    '--recipe=t6',
    '--image_size=16',
    '--num_classes=0',
    '--channels=8',
    '--num_res_blocks=1',
    '--batch_size=8',
    '--learning_rate=1e-3',
    '--warmup_steps=0',
    '--precision=float32',
    '--max_minutes=0',
    '--sample_batch_size=16',
    '--channel_mult=1',
    '--num_levels=2',
    '--mcmc_steps=2',
    '--initializer_channels=8',
    '--initializer_mult=1',
    '--noinitializer_attention',
    '--max_loss=1000',
    '--grid_every=0',
    '--checkpoint_every=2',
    '--log_every=3',
    '--evaluate_every=25',
    '--evaluate_samples=32',
    '--num_real=80',
    f'--train_steps={STEPS}',
]
_CLOCK = ('time', 'images_per_second')
_ROUNDING = 2e-5
State = tuple[dict[str, Any], list[dict[str, Any]]]  # Variables of a checkpoint, and lines of the logs.


def _train(workdir: str | os.PathLike[str], recipe: str, options: Sequence[str]) -> None:
    """Trains a tiny model without output, and ends this process with the exit code of training."""
    with open(os.devnull, 'w', encoding='utf-8') as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    command = ['run.py', *OPTIONS, f'--recipe={recipe}', *options, f'--workdir={workdir}']
    raise SystemExit(command_line(command))


def state(workdir: pathlib.Path, step: int = STEPS) -> State:
    """Reads what a run has written, so that `equal` can compare it with another run.

    Args:
      workdir: directory of the run.
      step: training step of the checkpoint to read.

    Returns:
      Pair (variables, lines). variables: the weights, the state of the optimizer and all else in the
      checkpoint, {name: array}. lines: one dict for each line of each log, without times and speeds. One more
      dict, the last in the list, says which checkpoint is the best.
    """
    reader = tf.train.load_checkpoint(
        os.path.join(workdirs.checkpoints(str(workdir)), f'{step:08d}', 'state')
    )
    variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    logs = sorted(workdir.glob('*.jsonl'))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    best = json.loads((workdir / 'best' / 'best.json').read_text()) if (workdir / 'best').exists() else {}
    lines.append({**best, 'kept': sorted(path.name for path in workdir.glob('best/0*'))})
    return variables, [{key: value for key, value in line.items() if key not in _CLOCK} for line in lines]


def equal(first: State, second: State) -> bool:
    """Returns whether two runs, each given as a result of `state`, are equal to the bit."""
    mine, my_log = first
    theirs, their_log = second
    has_same_names = mine.keys() == theirs.keys() and len(mine) > 50
    if not has_same_names or my_log != their_log:
        return False
    return all(np.array_equal(mine[name], theirs[name]) for name in mine)


def assert_same(first: pathlib.Path, second: pathlib.Path, step: int, rounding: float = _ROUNDING) -> None:
    """Asserts that two runs agree up to rounding in float32: in weights, optimizer moments and logs.

    Moments may differ by 1 %, logged values by 0.1 % plus 0.0001.

    Args:
      first, second: directories of the runs.
      step: training step of the checkpoints to compare.
      rounding: largest difference of two weights that counts as rounding, on top of 0.01 % of the weight.

    Raises:
      AssertionError: the runs differ by more.
    """
    mine, my_log = state(first, step)
    theirs, their_log = state(second, step)
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
                value = np.asarray(line[key], np.float64)
                expected = np.asarray(other[key], np.float64)
                np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4, err_msg=key)


class _Runs:
    """Trains tiny models of a recipe, 't6' or 'cdrl', each in a new process."""

    def __init__(self, recipe: str, options: Sequence[str]) -> None:
        self.recipe = recipe
        self.options = options
        self.processes = multiprocessing.get_context('forkserver')
        self._start(int).join()  # Starts the server of processes, if this process has none yet.

    def _start(self, target: Callable[..., Any], *arguments: Any) -> BaseProcess:
        process = self.processes.Process(target=target, args=arguments)
        process.start()
        return process

    def finish(self, workdir: pathlib.Path) -> float:
        """Trains to the end, or continues the run in `workdir`; returns the seconds that this took."""
        begin = time.monotonic()
        process = self._start(_train, workdir, self.recipe, self.options)
        process.join()
        _check_exit(process, workdir)
        return time.monotonic() - begin

    def kill(self, workdir: pathlib.Path, instant: float) -> bool:
        """Trains in a new process, and kills it.

        Args:
          workdir: directory of the run.
          instant: seconds after which to kill the process.

        Returns:
          Whether it was killed; False if training ended before.
        """
        process = self._start(_train, workdir, self.recipe, self.options)
        process.join(instant)
        if process.exitcode is not None:
            _check_exit(process, workdir)
            return False
        process.kill()
        process.join()
        return True


def _check_exit(process: BaseProcess, workdir: pathlib.Path) -> None:
    assert process.exitcode == 0, f'the run in {workdir} ended with code {process.exitcode}'


def survivors(
    recipe: str, kills: int, directory: pathlib.Path, seed: int = 0, options: Sequence[str] = ()
) -> int:
    """Kills and resumes runs; returns how many of them end bit-equal to a run that was never killed.

    The function prints the result of each run, and how much longer a killed run took on average.

    Args:
      recipe: how the tiny models are trained, a value of --recipe: 't6' (recovery likelihood) or 'cdrl' (with
        an initializer network).
      kills: number of runs; each is killed once.
      directory: directory for the runs.
      seed: seed of the random times at which runs are killed.
      options: options of the command line, such as '--train_steps=16', in place of those of `OPTIONS`.
    """
    runs = _Runs(recipe, options)
    duration = runs.finish(directory / 'alone')
    last = workdirs.steps(str(directory / 'alone'))[-1]
    alone = state(directory / 'alone', last)
    instants = random.Random(seed)
    survived = 0
    torn = 0
    lost: list[float] = []
    while len(lost) < kills:
        workdir = directory / f'killed-{len(lost)}'
        instant = instants.uniform(0, duration)
        if not runs.kill(workdir, instant):
            shutil.rmtree(workdir)
            continue
        where = _left_behind(workdir)
        torn += _is_torn(workdir)
        lost.append(instant + runs.finish(workdir) - duration)
        survived += equal(state(workdir, last), alone)
        print(
            f'{recipe}: killed after {instant:.1f} of {duration:.1f} s, {where}: {survived}/{len(lost)} '
            'bit-equal',
            flush=True,
        )
    print(f'{recipe}: {torn} kills while a file was written; a kill cost {np.mean(lost):.1f} s on average')
    return survived


def _is_torn(workdir: pathlib.Path) -> bool:
    return any(workdir.rglob('*writing*'))


def _left_behind(workdir: pathlib.Path) -> str:
    """Describes the files that a killed run left behind."""
    steps = workdirs.steps(str(workdir))
    torn = ', a half-written file' if _is_torn(workdir) else ''
    return f'newest checkpoint {steps[-1] if steps else "none"}{torn}'


def main(_: list[str]) -> int:
    """Kills and resumes training; prints how many runs end with the same bits as a run never killed.

    The option --kills says how many runs of a recipe to kill. --recipe is 't6' or 'cdrl'; '': both in turn.

    Args:
      _: ignored; the words of the command line, which `absl.app.run` passes.

    Returns:
      The exit code: 0 if all runs do, else 1.
    """
    preloaded = ['drl_tf.training.train', 'drl_tf.evaluation.evaluate']
    multiprocessing.get_context('forkserver').set_forkserver_preload(preloaded)
    recipes = [flags.FLAGS.recipe] if flags.FLAGS.recipe else ['t6', 'cdrl']
    differs = False
    with tempfile.TemporaryDirectory() as directory:
        for recipe in recipes:
            survived = survivors(recipe, flags.FLAGS.kills, pathlib.Path(directory) / recipe)
            print(f'{recipe}: {survived}/{flags.FLAGS.kills} killed runs ended bit-equal to one left alone')
            differs |= survived < flags.FLAGS.kills
    return int(differs)


if __name__ == '__main__':
    flags.DEFINE_integer('kills', 50, 'Runs of each recipe to kill.')
    flags.DEFINE_string('recipe', '', 't6 or cdrl; both if empty.')
    app.run(main)
