"""Several steps in one call are the steps that they are one at a time, also where they are interrupted."""

import json
import shutil
import signal

import pytest
from helpers.tiny import call, refused

from drl_tf.base.errors import UserError
from drl_tf.cli.parsing import configuration_of
from drl_tf.config import config
from drl_tf.tools import kills
from drl_tf.training import progress

OPTIONS = [
    *kills.OPTIONS,
    '--recipe=t6',
    '--evaluate_every=0',
    '--log_every=4',
    '--checkpoint_every=4',
]


@pytest.mark.slow
def test_a_run_and_its_continuation_have_the_bits_of_single_steps(capsys, tmp_path, monkeypatch):
    """SIGTERM comes within the second of three calls of four steps: those are finished and saved, and the
    same command goes on."""
    for name, steps in (('single', 1), ('several', 4)):
        command = [
            *OPTIONS,
            '--train_steps=12',
            f'--steps_per_execution={steps}',
            f'--workdir={tmp_path}/{name}',
        ]
        if steps > 1:
            with monkeypatch.context() as patch:
                patch.setattr(
                    progress.Stopwatch,
                    'on_train_batch_begin',
                    lambda self, batch, logs=None: batch and signal.raise_signal(15),
                )
                assert 'SIGTERM came: saved at step 8' in refused(capsys, *command, code=143)
        assert call(capsys, *command)[0] == 0
    single, several = (kills.state(tmp_path / name, 12) for name in ('single', 'several'))
    assert kills.equal(several, single) and [line['step'] for line in several[1][:-1]] == [4, 8, 12]


def test_every_period_divides_by_the_steps_of_a_call():
    for name in ('train_steps', 'log_every', 'checkpoint_every', 'grid_every', 'evaluate_every'):
        with pytest.raises(UserError, match=f'^{name}=30 must be a multiple of steps_per_execution=4'):
            config.Config().replace(**{name: 30, 'steps_per_execution': 4})


def test_a_run_resumes_between_two_calls(capsys, tiny_run, tmp_path):
    """From step 32, with five steps a call: it takes single steps, and ends where it should."""
    workdir = shutil.copytree(tiny_run, tmp_path / 'run')
    periods = [f'--{name}_every=35' for name in ('log', 'checkpoint', 'grid')]
    options = [*periods, f'--workdir={workdir}', '--train_steps=35', '--steps_per_execution=5']
    assert call(capsys, *options)[0] == 0
    log = (workdir / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in log][-1] == 35


def test_a_preset_takes_fewer_steps_per_call_where_more_do_not_divide(tmp_path):
    """For a new run and for one that goes on; a number that the user gives stays, and is refused."""
    for words, at_once in (([], 10), (['--train_steps=45'], 5), (['--train_steps=45', '--log_every=7'], 1)):
        assert configuration_of(words).training.steps_per_execution == at_once
    with pytest.raises(UserError, match='--train_steps=45 must be a multiple of --steps_per_execution=10'):
        configuration_of(['--train_steps=45', '--steps_per_execution=10'])
    configuration_of(['--train_steps=45']).save(tmp_path)
    goes_on = [f'--workdir={tmp_path}', '--mode=sample']
    assert configuration_of([*goes_on]).training.steps_per_execution == 5
    assert configuration_of([*goes_on, '--log_every=9']).training.steps_per_execution == 1
