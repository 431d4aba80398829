"""What a run survives, through the command line: damaged files, signals, a full disk."""

import json
import resource
import shutil
import signal
import time
import types

import pytest
from helpers import forks
from helpers.tiny import TINY, call, refused

from drl_tf.base.errors import DivergenceError, Interrupted
from drl_tf.distributed import devices
from drl_tf.runs import checkpoint, drawing, generate
from drl_tf.tools import kills
from drl_tf.training.signals import Signals


def test_damaged_workdir(capsys, tiny_run, tmp_path):
    """Another architecture's checkpoint, a truncated one, a damaged configuration, a step that is not
    there."""
    workdir = tmp_path / 'copy'
    shutil.copytree(tiny_run, workdir)
    sample = ['--mode=sample', f'--workdir={workdir}', '--num_samples=1']
    assert '--checkpoint_step=7' in refused(capsys, *sample, '--checkpoint_step=7')
    config_file = workdir / 'config.json'
    stored = config_file.read_text()
    config_file.write_text(stored.replace('"channels": 8', '"channels": 16'))
    assert 'is not that of the run' in refused(capsys, *sample)
    config_file.write_text(stored[:100])
    data = next((workdir / 'checkpoints' / '00000032').glob('*.data*'))
    data.write_bytes(data.read_bytes()[:1000])
    assert call(capsys, *sample)[0] == 0
    assert [path.name for path in (workdir / 'samples').glob('*-ema-1-seed0.png')] == [
        '00000024-ema-1-seed0.png'
    ]
    config_file.write_text(stored)
    assert 'checkpoints/00000032' in refused(capsys, *sample, '--checkpoint_step=32')
    shutil.rmtree(workdir / 'checkpoints')
    assert 'no checkpoint' in refused(capsys, *sample)


def test_a_run_that_never_began_leaves_its_workdir_free(capsys, tmp_path):
    arguments = ['--dataset=lsun_church', f'--data_dir={tmp_path}', f'--workdir={tmp_path}/w']
    assert refused(capsys, *arguments, '--batch_size=4') == refused(capsys, *arguments, '--batch_size=8')
    assert not (tmp_path / 'w').exists()


def test_training_goes_back_to_a_sound_checkpoint(capsys, tiny_run, tmp_path):
    """The newest one, the best so far, is truncated and the log has a torn line: the run resumes at the one
    before, says so, and will find its best anew."""
    workdir = tmp_path / 'copy'
    shutil.copytree(tiny_run, workdir)
    checkpoint.keep_best(str(workdir), 32, {'score': 1})
    data = next((workdir / 'checkpoints' / '00000032').glob('*.data*'))
    data.write_bytes(data.read_bytes()[:1000])
    (workdir / 'checkpoints' / '00000099').mkdir()
    with open(workdir / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 3')
    code, out, err = call(capsys, *TINY, f'--workdir={workdir}', '--train_steps=26')
    assert code == 0 and 'resuming at step 24' in out, err
    steps = [json.loads(line)['step'] for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert steps == [8, 16, 24, 26]
    kept = sorted(path.name for path in (workdir / 'checkpoints').iterdir())
    assert kept == ['00000016', '00000024', '00000026', 'damaged-32', 'damaged-99']
    assert checkpoint.best_score(str(workdir)) is None and (workdir / 'best.1' / '00000032').is_dir()


def test_a_signal_saves_the_step(capsys, tmp_path):
    """It ends the run with code 128 + number and a checkpoint, from which the same command goes on; until
    then no other run gets in."""
    command = ['run.py', *TINY, f'--workdir={tmp_path}/w', '--train_steps=100000']
    command.append('--checkpoint_every=100000')
    with forks.start(command, tmp_path / 'out', tmp_path / 'err') as process:
        while not (tmp_path / 'w' / 'metrics.jsonl').exists():
            time.sleep(0.2)
        assert 'in use by another run' in refused(capsys, *TINY, f'--workdir={tmp_path}/w')
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT
    (saved,) = (tmp_path / 'w' / 'checkpoints').iterdir()
    assert f'SIGINT came: saved at step {int(saved.name)}' in (tmp_path / 'err').read_text()


def test_a_second_signal_ends_the_process_at_once(tmp_path):
    code = (
        'import signal; from drl_tf.training.signals import Signals; Signals().__enter__(); '
        'print(1, flush=True); '
    )
    twice = 'signal.raise_signal(15); print(2, flush=True); signal.raise_signal(15); print(3)'
    done = forks.run('-c', code + twice, timeout=60)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGTERM, ['1', '2'])


def test_a_signal_while_training_diverges_ends_it():
    """The former handlers are back; without a signal the divergence is raised."""
    former = signal.getsignal(signal.SIGINT)
    with (
        pytest.raises(Interrupted, match='SIGINT came while training diverged at step 3') as raised,
        Signals(),
    ):
        signal.raise_signal(signal.SIGINT)
        raise DivergenceError('the energies diverged', 3)
    assert raised.value.exit_code == 128 + signal.SIGINT and signal.getsignal(signal.SIGINT) is former
    with pytest.raises(DivergenceError), Signals():
        raise DivergenceError('the energies diverged', 3)


@pytest.mark.slow
def test_a_signal_within_an_evaluation_ends_it(capsys, tmp_path, monkeypatch):
    """The step is saved, not scored; when the run goes on it is, and its history is that of a run that was
    left alone. After training the next mode has the first signal."""
    options = [
        *kills.OPTIONS,
        '--recipe=preconditioned',
        '--mcmc_steps=0',
        '--train_steps=6',
        '--evaluate_every=3',
        '--evaluate_samples=16',
        '--sample_batch_size=8',
        f'--workdir={tmp_path}/w',
    ]
    drawn = drawing.sampled

    def interrupted(*arguments):
        for index, batch in enumerate(drawn(*arguments)):
            if index == 1:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    monkeypatch.setattr(drawing, 'sampled', interrupted)
    assert 'SIGTERM came: saved at step 3' in refused(capsys, *options, code=143)
    assert not (tmp_path / 'w' / 'evaluations.jsonl').exists()
    monkeypatch.setattr(drawing, 'sampled', drawn)
    monkeypatch.setattr(generate, 'generate', lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    came = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        assert call(capsys, *options, '--mode=train,sample')[0] == 0
    finally:
        signal.signal(signal.SIGTERM, former)
    assert came == [signal.SIGTERM]
    assert [path.name for path in (tmp_path / 'w' / 'evaluation').iterdir()] == ['parts']
    steps = [
        json.loads(line)['step'] for line in (tmp_path / 'w' / 'evaluations.jsonl').read_text().splitlines()
    ]
    assert steps == [3, 6]


def test_another_machine_is_reported(capsys, caplog, tiny_run, tmp_path):
    """The run goes on, and says what its bits depended on and is otherwise now; harmless options are said and
    stored."""
    workdir = tmp_path / 'w'
    shutil.copytree(tiny_run, workdir)
    arguments = [*TINY, f'--workdir={workdir}', '--train_steps=32']
    assert 'changed' not in call(capsys, *arguments)[1] and 'uninterrupted' not in caplog.text
    code, out, _ = call(capsys, *arguments, '--nodeterministic')
    assert code == 0 and 'changed: --deterministic=False here, True there' in out
    assert 'not be bit-identical to an uninterrupted one: deterministic False here, True there' in caplog.text
    assert not json.loads((workdir / 'config.json').read_text())['training']['deterministic']


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_one_that_was_left_alone(tmp_path):
    options = ['--train_steps=16', '--evaluate_every=7', '--evaluate_samples=16']
    assert kills.survivors('cdrl', 1, tmp_path, options=options) == 1


def test_restart_keeps_the_old_run(capsys, tiny_run, tmp_path):
    workdir = tmp_path / 'w'
    shutil.copytree(tiny_run, workdir)
    code, out, err = call(
        capsys, *TINY, '--batch_size=4', f'--workdir={workdir}', '--train_steps=1', '--restart'
    )
    assert code == 0 and f'{workdir}.1' in out, err
    assert [path.name for path in (workdir / 'checkpoints').iterdir()] == ['00000001']
    assert (tmp_path / 'w.1' / 'checkpoints' / '00000032').is_dir()


def test_restart_moves_nothing_but_a_run(capsys, monkeypatch, tiny_run, tmp_path):
    """A restart moves neither the run that it starts from nor other files, and nothing if it must fail."""
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'mine.txt').write_text('mine')
    assert 'holds no run but mine.txt' in refused(capsys, *TINY, f'--workdir={tmp_path}/notes', '--restart')
    assert (tmp_path / 'notes' / 'mine.txt').read_text() == 'mine'
    shutil.copytree(tiny_run, tmp_path / 'w')
    arguments = ['--restart', f'--workdir={tmp_path}/w']
    shutil.copytree(tiny_run, tmp_path / 'w' / 'within')
    for start in (f'{tmp_path}/w', f'{tmp_path}/w/within'):
        line = refused(capsys, *TINY, *arguments, f'--init_from={start}')
        assert f'--restart would move --init_from={start} too' in line
    assert 'holds no exported model: give the folder that --mode=export printed, or give a run' in refused(
        capsys, *TINY, *arguments, f'--init_from={tmp_path}/notes'
    )
    shutil.copytree(tiny_run, tmp_path / 'untrained', ignore=shutil.ignore_patterns('checkpoints'))
    untrained = f'--init_from={tmp_path}/untrained'
    assert f'{untrained} holds no checkpoint' in refused(capsys, *TINY, *arguments, untrained)
    wider = [*TINY, *arguments, '--channels=16', f'--init_from={tiny_run}']
    assert 'has another network: --channels=16 here, 8 there' in refused(capsys, *wider)
    three = types.SimpleNamespace(num_replicas_in_sync=3)
    monkeypatch.setattr(devices, 'strategy', lambda: three)
    assert '--batch_size=8 must be a multiple of 3 devices' in refused(capsys, *TINY, *arguments)
    assert (tmp_path / 'w' / 'checkpoints' / '00000032').is_dir() and not (tmp_path / 'w.1').exists()


def test_a_workdir_that_cannot_be_made(capsys, tmp_path):
    (tmp_path / 'file').write_text('')
    assert str(tmp_path / 'file') in refused(capsys, *TINY, f'--workdir={tmp_path}/file/w')


def test_a_checkpoint_that_cannot_be_written_whole(capsys, tiny_run, tmp_path):
    """Files may have no more than 50,000 bytes for a while, as on a full disk: the older checkpoints stay,
    and the run goes on later."""
    workdir = tmp_path / 'w'
    shutil.copytree(tiny_run, workdir)
    arguments = [*TINY, f'--workdir={workdir}', '--train_steps=34']
    before = sorted(path.name for path in (workdir / 'checkpoints').iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        line = refused(capsys, *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (
        'checkpoints/00000034 could not be written' in line
        and 'the older ones are sound' in line
        and 'function_node' not in line
    )
    assert sorted(path.name for path in (workdir / 'checkpoints').iterdir()) == before
    code, out, _ = call(capsys, *arguments)
    assert code == 0 and 'resuming at step 32' in out
