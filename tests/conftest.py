"""What several test files use."""

import contextlib
import io
import os

import pytest
from tiny import TINY, run

from drl_tf import cli

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


@pytest.fixture(scope='session')
def tiny_run(tmp_path_factory):
    """The workdir of a run of 32 steps, made in two parts: by `run.py`, and in this process."""
    workdir = tmp_path_factory.mktemp('runs') / 'tiny'
    command = ['run.py', *TINY, f'--workdir={workdir}']
    done = run(*command, '--train_steps=16')
    assert done.returncode == 0, done.stderr
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main([*command, '--train_steps=32']) == 0
    assert 'resuming at step 16' in out.getvalue()
    return workdir
