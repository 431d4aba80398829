"""The tiny run that everything else is tried on, and how the tests call the program."""

import json
import pathlib
import subprocess
import sys

import numpy as np

from drl_tf.base import seal
from drl_tf.cli.main import main
from drl_tf.config import config
from drl_tf.runs import samples

ROOT = pathlib.Path(__file__).parent.parent.parent
TINY_NETWORK = ['--channels=8', '--num_res_blocks=1', '--channel_mult=1']
TINY = [
    '--dataset=digits', '--recipe=t6', '--image_size=16', '--num_classes=0', *TINY_NETWORK,
    '--mcmc_steps=3', '--batch_size=8',
    '--learning_rate=1e-3', '--warmup_steps=0', '--precision=float32', '--max_minutes=0', '--log_every=8',
    '--checkpoint_every=8',
    '--grid_every=0', '--sample_batch_size=16',
]  # fmt: skip


def run(*arguments, **kwargs):
    """Runs a Python command line in a process of its own, in the checkout."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        **kwargs,
    )


def call(capsys, *arguments):
    """Exit code, stdout and stderr of a command line, run in this process."""
    code = main(['run.py', *map(str, arguments)])
    return code, *capsys.readouterr()


def set_options(workdir, **options):
    """Changes options of a run without training, in its configuration and in those of its checkpoints."""
    for directory in (workdir, *(workdir / 'checkpoints').iterdir()):
        config.load(directory).replace(**options).save(str(directory))
        if directory != workdir:
            (directory / seal.MANIFEST).unlink()
            seal.seal(directory)


def sampled(capsys, workdir, *arguments, side=16):
    """The images that a command line samples from a run in grey, int [n, side, side, 1], and the directory
    where they are."""
    code, out, err = call(capsys, f'--workdir={workdir}', *arguments)
    assert code == 0, err
    directory = pathlib.Path(out.split()[-1])
    return np.concatenate(list(samples.read(directory, (side, side, 1)))).astype(int), directory


def refused(capsys, *arguments, code=2):
    """The one line that refuses a command."""
    status, _, err = call(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith('error: ')]
    assert status == code and len(lines) == 1 and 'Traceback' not in err, err
    return lines[0]


def scores(capsys, *arguments):
    """Output and written scores of a command."""
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    with open(next(word for word in out.split() if word.endswith('.json')), encoding='utf-8') as file:
        return out, json.load(file)
