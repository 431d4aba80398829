"""Scores while training, and the best checkpoint, which is kept."""

import json
import shutil

import pytest
from helpers.tiny import TINY, call, refused, scores

from drl_tf.base.errors import UserError
from drl_tf.cli.main import main
from drl_tf.runs import checkpoint, workdirs

FRECHET = 'frechet_distance_digits_classifier'


@pytest.fixture(scope='module')
def scored_run(tmp_path_factory):
    """The workdir of a run that is scored at steps 4, 8 and 10, and its command."""
    workdir = tmp_path_factory.mktemp('runs') / 'scored'
    every = ['--evaluate_every=4', '--evaluate_samples=24', '--checkpoint_every=1', '--train_steps=10']
    every += ['--num_real=200', '--max_loss=1000']
    command = ['run.py', *TINY, '--num_levels=2', '--mcmc_steps=1', *every, f'--workdir={workdir}']
    assert main(command) == 0
    return workdir, command


def lines_of(workdir):
    lines = map(json.loads, (workdir / 'evaluations.jsonl').read_text().splitlines())
    return [{name: value for name, value in line.items() if name != 'time'} for line in lines]


def test_the_best_checkpoint_outlives_the_last_three_and_scores_the_same_again(capsys, scored_run):
    workdir, _ = scored_run
    lines = lines_of(workdir)
    best = min(lines, key=lambda line: line[FRECHET])
    assert [line['step'] for line in lines] == [4, 8, 10]
    assert checkpoint.best_step(workdir) == best['step']
    assert [path.name for path in (workdir / 'best').glob('0*')] == [f'{best["step"]:08d}']
    assert workdirs.steps(workdir) == [8, 9, 10]
    checkpoint.keep_best(workdir, 8, {FRECHET: 0})
    shutil.rmtree(workdir / 'checkpoints' / '00000008')
    arguments = ['--num_samples=24', '--num_real=200', '--best']
    _, again = scores(capsys, '--mode=evaluate', f'--workdir={workdir}', *arguments)
    assert again['step'] == 8 and again[FRECHET] == pytest.approx(lines[1][FRECHET], rel=1e-3)


@pytest.mark.slow
def test_the_best_checkpoint_is_kept_before_the_log_says_so(capsys, tmp_path, monkeypatch):
    """A command that fails between the two scores again when it is run again, and keeps what a whole run
    keeps."""
    every = [
        '--evaluate_every=2',
        '--evaluate_samples=24',
        '--num_real=80',
        '--train_steps=2',
        f'--workdir={tmp_path}/w',
    ]
    options = [*TINY, '--num_levels=2', '--mcmc_steps=1', *every]
    with monkeypatch.context() as patches:
        patches.setattr(checkpoint, 'keep_best', lambda *_: (_ for _ in ()).throw(UserError('full')))
        assert 'full' in refused(capsys, *options)
    assert call(capsys, *options)[0] == 0
    assert checkpoint.best_step(tmp_path / 'w') == 2 and len(lines_of(tmp_path / 'w')) == 1
    shutil.rmtree(tmp_path / 'w' / 'checkpoints')
    assert call(capsys, '--mode=sample', '--best', '--num_samples=1', f'--workdir={tmp_path}/w')[0] == 0


@pytest.mark.parametrize('line', [b'\xff\n', b'{"step": "x"}\n', b'[' * 100000 + b'\n'])
def test_a_damaged_line_of_the_evaluations_is_dropped(capsys, scored_run, line):
    workdir, command = scored_run
    before = lines_of(workdir)
    with open(workdir / 'evaluations.jsonl', 'ab') as file:
        file.write(line)
    assert main(command) == 0
    assert lines_of(workdir) == before


def test_an_interrupted_evaluation_is_made_up_for(scored_run):
    workdir, command = scored_run
    before, log = lines_of(workdir), workdir / 'evaluations.jsonl'
    log.write_text(''.join(log.read_text().splitlines(keepends=True)[:2]) + '{"step": 10, "fre')
    assert main(command) == 0
    assert lines_of(workdir) == before


def test_a_best_checkpoint_by_another_measure_is_put_aside(capsys, caplog, scored_run):
    workdir, command = scored_run
    best, asides = checkpoint.best_step(workdir), [*workdir.glob('best.*')]
    assert (
        call(capsys, *command[1:], '--evaluate_samples=20', '--evaluate_every=6', '--train_steps=12')[0] == 0
    )
    assert checkpoint.best_step(workdir) == 12 and [line['num_samples'] for line in lines_of(workdir)] == [
        24,
        24,
        24,
        20,
    ]
    (aside,) = {*workdir.glob('best.*')} - {*asides}
    assert (aside / f'{best:08d}' / 'manifest.json').exists() and str(aside) in caplog.text
