"""Energies that diverge, through the command line: rollbacks, and what is kept."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers.tiny import TINY, call, refused

from drl_tf.cli.parsing import configuration_of
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.runs.run_directory import Run
from drl_tf.training import rollbacks

RUN_AWAY = [*TINY, '--learning_rate=1', '--train_steps=40', '--max_loss=50']


def test_divergence_stops_the_run(capsys, tmp_path):
    """After the rollbacks, which its page tells of, with what the levels looked like; no checkpoint is of a
    step that was found bad."""
    arguments = [*RUN_AWAY, f'--workdir={tmp_path}/w', '--max_rollbacks=1', '--rollback_factor=0.9']
    line = refused(capsys, *arguments, code=3)
    assert 'diverged at step' in line and 'rolled back 1 times' in line and '--clip_norm' in line
    steps = json.loads((tmp_path / 'w' / 'rollbacks.json').read_text())
    assert len(steps) == 1
    (record, *_) = (tmp_path / 'w').glob('diverged-*.json')
    assert len(json.loads(record.read_text())['level_f_pos']) == 6
    page = (tmp_path / 'w' / 'report.html').read_text()
    assert 'Each rollback returned to the checkpoint before the step' in page
    assert not {f'{step:08d}' for step in steps} & {
        path.name for path in (tmp_path / 'w').glob('checkpoints/*')
    }


@pytest.mark.slow
def test_each_rollback_goes_further_back(capsys, tiny_run, tmp_path):
    """A run that diverges from its last checkpoint again was on its way out by then: that one is put
    aside."""
    workdir = tmp_path / 'w'
    shutil.copytree(tiny_run, workdir)
    refused(
        capsys,
        *TINY,
        f'--workdir={workdir}',
        '--train_steps=40',
        '--max_loss=1e-3',
        '--max_rollbacks=2',
        code=3,
    )
    assert len(json.loads((workdir / 'rollbacks.json').read_text())) == 2
    kept = sorted(path.name for path in (workdir / 'checkpoints').iterdir())
    assert kept == ['00000016', '00000024', 'diverged-32']


def test_a_run_that_ran_away_goes_on_with_a_lower_rate(capsys, tmp_path):
    """A run with a learning rate of 1 diverges. The rollback makes it 1e-3, also for a rerun."""
    arguments = [*RUN_AWAY, f'--workdir={tmp_path}/w', '--rollback_factor=1e-3']
    code, _, err = call(capsys, *arguments)
    assert code == 0 and (tmp_path / 'w' / 'checkpoints' / '00000040').is_dir(), err
    (step,) = json.loads((tmp_path / 'w' / 'rollbacks.json').read_text())
    lines = [json.loads(line) for line in (tmp_path / 'w' / 'metrics.jsonl').read_text().splitlines()]
    assert step < 40 and [line['step'] for line in lines] == [8, 16, 24, 32, 40]


@pytest.mark.parametrize(
    ('rate', 'past', 'said'),
    [('1e-3', [], ''), ('1', [5, 6, 7], 'learning rates times 0.125: 3 rollbacks\n')],
)
def test_rollbacks_before_the_first_checkpoint_count_for_the_same_options(capsys, tmp_path, rate, past, said):
    """A run with another rate begins anew in the workdir of one that left no checkpoint."""
    configuration_of([*TINY, '--learning_rate=1']).save(tmp_path)
    (tmp_path / 'rollbacks.json').write_text('[5, 6, 7]')
    config = configuration_of([*TINY, f'--learning_rate={rate}'])
    assert rollbacks.former(config, str(tmp_path), Run(str(tmp_path))) == past
    assert capsys.readouterr().out == said
    assert (tmp_path / 'rollbacks.json').exists() == bool(past)


@pytest.mark.slow
def test_nothing_that_is_not_finite_is_kept(capsys, tmp_path, monkeypatch):
    """A NaN injected into the loss of step 11, at the first attempt alone: averages, checkpoints and log stay
    finite, and it ends well."""
    plain = RecoveryLikelihood.contrastive_loss

    def broken(model, *arguments):
        losses, *rest = plain(model, *arguments)
        bad = (model.optimizer.iterations.value == 10) & (model.attempt == 0)
        return tf.where(bad, float('nan'), losses), *rest

    monkeypatch.setattr(RecoveryLikelihood, 'contrastive_loss', broken)
    assert call(capsys, *TINY, f'--workdir={tmp_path}/w', '--train_steps=16', '--ema_decay=0.5')[0] == 0
    assert json.loads((tmp_path / 'w' / 'rollbacks.json').read_text()) == [11]
    record = json.loads((tmp_path / 'w' / 'diverged-11.json').read_text())
    assert (record['step'], record['seen_at']) == (11, 12) and None in record['level_loss']
    reader = tf.train.load_checkpoint(str(tmp_path / 'w' / 'checkpoints' / '00000016' / 'state'))
    names = [name for name, dtype in reader.get_variable_to_dtype_map().items() if dtype.is_floating]
    assert len(names) > 50 and all(np.isfinite(reader.get_tensor(name)).all() for name in names)
