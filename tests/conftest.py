"""What several test files use."""

import contextlib
import io
import os

import golden
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


@pytest.fixture(scope='session')
def small_export(tmp_path_factory):
    """The version folder of the small run of `cdrl` in `golden/`, exported as `digits`: 8 px, 10 classes, 2 levels, K = 2."""
    parent = tmp_path_factory.mktemp('saved_models') / 'digits'
    arguments = [f'--workdir={golden.DIRECTORY}/cdrl', f'--export_dir={parent}', '--max_samples=20']
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(['run.py', '--mode=export', *arguments]) == 0
    return parent / '1'
