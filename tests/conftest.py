"""What several test files use."""

import os

import pytest
from tiny import TINY, run

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


@pytest.fixture(scope='session')
def tiny_run(tmp_path_factory):
    """The workdir of a run of 32 steps, made by `run.py` in two parts."""
    workdir = tmp_path_factory.mktemp('runs') / 'tiny'
    for steps in (16, 32):
        done = run('run.py', *TINY, f'--workdir={workdir}', f'--train_steps={steps}')
        assert done.returncode == 0, done.stderr
    assert 'resuming at step 16' in done.stdout
    return workdir
