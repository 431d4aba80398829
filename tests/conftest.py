"""What several test files use: the tiny run that everything else is tried on."""

import os
import pathlib
import subprocess
import sys

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

ROOT = pathlib.Path(__file__).parent.parent
TINY_NETWORK = ['--channels=8', '--num_res_blocks=1', '--channel_mult=1,2']
TINY = [
    '--dataset=digits', '--image_size=16', *TINY_NETWORK, '--mcmc_steps=3', '--batch_size=8', '--learning_rate=1e-3', '--warmup_steps=0',
    '--precision=float32', '--max_minutes=0', '--log_every=8', '--checkpoint_every=8', '--grid_every=16', '--sample_batch_size=16',
]  # fmt: skip


def run(*arguments, **kwargs):
    """Runs a Python command line in a process of its own, in the checkout."""
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=300, **kwargs)


@pytest.fixture(scope='session')
def tiny_run(tmp_path_factory):
    """The workdir of a run of 32 steps, made by `run.py` in two parts."""
    workdir = tmp_path_factory.mktemp('runs') / 'tiny'
    for steps in (16, 32):
        done = run('run.py', *TINY, f'--workdir={workdir}', f'--train_steps={steps}')
        assert done.returncode == 0, done.stderr
    assert 'resuming at step 16' in done.stdout
    return workdir
