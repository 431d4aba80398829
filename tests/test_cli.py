"""The command line: flags, presets, modes, and one clear line for wrong use."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny import ROOT, TINY

from drl_tf import cli
from drl_tf import config as configuration
from drl_tf.data import specs
from drl_tf.model import RecoveryLikelihood


def call(capsys, *arguments):
    """Exit code, stdout and stderr of a command line, run in this process."""
    code = cli.main(['run.py', *map(str, arguments)])
    return code, *capsys.readouterr()


def refused(capsys, *arguments, code=2):
    """The one line that refuses a command."""
    status, _, err = call(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith('error: ')]
    assert status == code and len(lines) == 1 and 'Traceback' not in err, err
    return lines[0]


def test_help_documents_every_option(capsys):
    code, out, _ = call(capsys, '--help')
    assert code == 0
    for field, _ in configuration.Config().options():
        assert f'--{field.name} ' in out and field.metadata['help'] in out
    assert '--num_levels  (whole number, 1 to 500; default 6)' in out


def test_version(capsys):
    assert call(capsys, '-h') == call(capsys, '--help')
    assert call(capsys, '--version')[:2] == (0, f'drl_tf {cli.__version__}\n')


def dry_run(capsys, *arguments):
    code, out, err = call(capsys, '--dry_run', *arguments)
    assert code == 0, err
    text, end = json.JSONDecoder().raw_decode(out)
    return text, dict(line.split(': ') for line in out[end:].strip().splitlines())


def test_presets_then_command_line(capsys):
    """X.flags, then X_<size>.flags, then the command line."""
    paper, cost = dry_run(capsys, '--dataset=lsun_church')
    large, _ = dry_run(capsys, '--dataset=lsun_church', '--image_size=128', '--batch_size=3')
    assert (paper['data']['image_size'], paper['training']['batch_size'], paper['training']['adam_beta1']) == (64, 128, 0.9)
    assert paper['network']['channel_mult'] == [1, 2, 2, 2, 4] and 19.1e6 < int(cost['parameters'].replace(',', '')) < 19.3e6
    assert (large['data']['image_size'], large['training']['batch_size'], large['training']['adam_beta1']) == (128, 3, 0.5)
    assert large['network']['channel_mult'] == [1, 2, 2, 2, 4, 4]


def test_flops(capsys):
    """A training step is B (K Langevin steps + 2 parameter passes); convolutions alone give the energy's count within 10 %."""
    options = ['--image_size=16', '--channels=32', '--channel_mult=1', '--num_res_blocks=1', '--batch_size=4', '--mcmc_steps=5']
    _, cost = dry_run(capsys, *TINY, *options)
    number = {label: int(text.replace(',', '')) for label, text in cost.items() if label.startswith('FLOPs')}
    convolutions = 2 * 16 * 16 * 9 * (1 * 32 + 2 * 32 * 32)
    assert number['FLOPs of one energy'] == pytest.approx(convolutions, rel=0.1)
    assert number['FLOPs of one Langevin step of an image'] == pytest.approx(2 * convolutions, rel=0.15)
    assert number['FLOPs of a training step'] == 4 * number['FLOPs of a training step, per image']


@pytest.mark.parametrize('path', sorted((ROOT / 'flags').glob('*.flags')), ids=lambda path: path.name)
def test_every_preset_is_valid(path):
    """It is named after a recipe, or a dataset and maybe an image size or a recipe; it is read; its command is as printed."""
    text = path.read_text()
    name, _, rest = path.stem.rpartition('_')
    if name == 'recipe':
        arguments = [f'--recipe={rest}', '--dataset=cifar10']
    elif path.stem in specs.DATASETS:
        arguments = [f'--dataset={path.stem}']
    else:
        assert name in specs.DATASETS
        arguments = [f'--dataset={name}', f'--image_size={rest}' if rest.isdigit() else f'--recipe={rest}']
    assert text.startswith('#') and 'Command: python run.py' in text
    argv = ['run.py', *arguments]
    values = cli._with_presets(cli._parse(argv), argv)
    alone = cli._parse(['run.py'], [path])
    mine = [field.name for field, _ in configuration.Config().options() if alone[field.name].present]
    assert mine and any(values[name].value == alone[name].value for name in mine)
    cli._resolve(cli.Command(), cli._parse(argv), argv)


def test_flagfile(capsys, tmp_path):
    (tmp_path / 'mine.flags').write_text('--batch_size=7\n')
    assert dry_run(capsys, f'--flagfile={tmp_path}/mine.flags')[0]['training']['batch_size'] == 7


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--dataset=lsun_chruch'], ['lsun_chruch', 'lsun_church']),
    (['--chanels=3'], ['chanels']),
    (['--image_size=15'], ['image_size', '15']),
    (['--image_size=20'], ['image_size', '20']),
    (['--channel_mult=1,x'], ['channel_mult', '1,x']),
    (['--channel_mult='], ['channel_mult']),
    (['--mcmc_steps=5,4'], ['mcmc_steps=5,4', 'num_levels=6']),
    (['--batch_size=0'], ['batch_size=0', 'at least 1']),
    (['--batch_size=many'], ['batch_size', 'many']),
    (['--learning_rate=nan'], ['learning_rate']),
    (['--num_levels=501'], ['num_levels=501', '500']),
    (['--act=tanh'], ['act=tanh', 'lrelu']),
    (['--mode=dream'], ['mode=dream', 'sample']),
    (['--mode='], ['mode']),
    (['--mode=sample'], ['--workdir']),
    (['train'], ['train']),
    (['--flagfile=/no/such/file'], ['/no/such/file']),
    (['--mode=sample', '--workdir=/no/such/run'], ['/no/such/run']),
    (['--dataset=folder'], ['--data_dir']),
    (['--dataset=folder', '--data_dir=/no/such/folder'], ['/no/such/folder']),
    (['--dataset=celeb_a_hq', '--image_size=100'], ['image_size=100']),
    (['--guidance=1'], ['guidance', 'no classes']),
    (['--nodry_run=3'], ['nodry_run']),
    (['--label=3'], ['--label', 'sample']),
    (['--checkpoint_step=3'], ['--checkpoint_step', 'train']),
    (['--init_from=/no/such/run'], ['--init_from=/no/such/run']),
    (['--norm=group', '--channels=8'], ['channels=8', '32']),
])  # fmt: skip
def test_wrong_use(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, *arguments)
    assert all(word in line for word in words), line


def test_empty_folder(capsys, tmp_path):
    (tmp_path / 'pictures').mkdir()
    assert str(tmp_path / 'pictures') in refused(capsys, '--dataset=folder', f'--data_dir={tmp_path}/pictures', f'--workdir={tmp_path}/w')


def test_dataset_that_is_not_there(capsys, tmp_path):
    for dataset in ('lsun_church', 'lsun_bedroom'):
        assert 'lsun' in refused(capsys, f'--dataset={dataset}', f'--data_dir={tmp_path}', f'--workdir={tmp_path}/w')


def test_workdir_of_another_run(capsys, tiny_run):
    line = refused(capsys, *TINY, f'--workdir={tiny_run}', '--channels=16')
    assert '--channels=16 here, 8 there' in line
    assert '--channels=16' in refused(capsys, '--mode=sample', f'--workdir={tiny_run}', '--channels=16')
    assert '--init_from' in refused(capsys, *TINY, f'--init_from={tiny_run}', '--channels=16', f'--workdir={tiny_run}-new')


def test_damaged_workdir(capsys, tiny_run, tmp_path):
    """Another architecture's checkpoint, a truncated one, a damaged configuration, a step that is not there."""
    workdir = tmp_path / 'copy'
    shutil.copytree(tiny_run, workdir)
    sample = ['--mode=sample', f'--workdir={workdir}', '--num_samples=1']
    assert '--checkpoint_step=7' in refused(capsys, *sample, '--checkpoint_step=7')
    config_file = workdir / 'config.json'
    stored = config_file.read_text()
    config_file.write_text(stored.replace('"channels": 8', '"channels": 16'))
    assert 'another architecture' in refused(capsys, *sample)
    config_file.write_text(stored[:100])
    data = next((workdir / 'checkpoints' / '00000032').glob('*.data*'))
    data.write_bytes(data.read_bytes()[:1000])
    assert call(capsys, *sample)[0] == 0
    assert [path.name for path in (workdir / 'samples').glob('*-ema-1-seed0.png')] == ['00000024-ema-1-seed0.png']
    config_file.write_text(stored)
    assert 'checkpoints/00000032' in refused(capsys, *sample, '--checkpoint_step=32')
    shutil.rmtree(workdir / 'checkpoints')
    assert 'no checkpoint' in refused(capsys, *sample)


def test_the_run_leaves_what_it_promises(tiny_run):
    assert sorted(path.name for path in (tiny_run / 'checkpoints').iterdir()) == ['00000016', '00000024', '00000032']
    assert {'data.png', '00000016.png', '00000032.png'} <= {path.name for path in (tiny_run / 'samples').iterdir()}
    assert Image.open(tiny_run / 'samples' / 'data.png').size == (640, 640)
    lines = [json.loads(line) for line in (tiny_run / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in lines] == [8, 16, 24, 32]
    for name in ('loss', 'f_pos', 'f_neg', 'displacement', 'gradient_norm'):
        assert all(len(line[f'level_{name}']) == 6 for line in lines)
    assert list((tiny_run / 'tensorboard').iterdir())


def test_sampling_mode(capsys, tiny_run):
    """The same seed gives the same images, in batches of any size; K, noise and weights are as asked."""

    def sample(*arguments):
        code, out, err = call(capsys, '--mode=sample', f'--workdir={tiny_run}', '--num_samples=20', *arguments)
        assert code == 0, err
        path = next(word for word in out.split() if word.endswith('.npz'))
        with np.load(path) as file:
            return file['images'].astype(int)

    images = sample()
    assert images.shape == (20, 16, 16, 1)
    assert np.abs(images - sample('--sample_batch_size=7')).max() <= 1
    for other in (['--seed=5'], ['--mcmc_steps=6'], ['--noise_scale=0'], ['--weights=raw'], ['--checkpoint_step=16']):
        assert np.abs(images - sample(*other)).max() > 1, other
    grid = Image.open(tiny_run / 'samples' / '00000032-ema-20-seed0.png')
    assert grid.size == (4 * 16 * 7, 5 * 16 * 7)


def test_samples_that_are_not_finite_are_refused(capsys, tiny_run):
    broken = ['--step_scale=100', '--noise_scale=2', '--mcmc_steps=60', '--num_samples=4']
    assert 'not finite' in refused(capsys, '--mode=sample', f'--workdir={tiny_run}', *broken)
    assert not list((tiny_run / 'samples').glob('*step_scale*'))


def test_settings_do_not_overwrite_each_other(capsys, tiny_run):
    for arguments in ([], ['--mcmc_steps=4'], ['--noise_scale=0.5'], ['--precision=bfloat16']):
        assert call(capsys, '--mode=sample', f'--workdir={tiny_run}', '--num_samples=3', *arguments)[0] == 0
    assert len(list((tiny_run / 'samples').glob('00000032-ema-3-*.npz'))) == 4


def test_wrong_modes_are_found_before_any_work(capsys, tmp_path):
    Image.new('RGB', (20, 20)).save(tmp_path / 'a.png')
    arguments = ['--dataset=folder', f'--data_dir={tmp_path}', '--mode=train,evaluate', f'--workdir={tmp_path}/w']
    assert 'cannot be scored' in refused(capsys, *arguments)
    assert not (tmp_path / 'w').exists()


def test_a_run_that_never_began_leaves_its_workdir_free(capsys, tmp_path):
    arguments = ['--dataset=lsun_church', f'--data_dir={tmp_path}', f'--workdir={tmp_path}/w']
    assert refused(capsys, *arguments, '--batch_size=4') == refused(capsys, *arguments, '--batch_size=8')


def test_training_goes_back_to_a_sound_checkpoint(capsys, tiny_run, tmp_path):
    """The newest one is truncated and the log has a torn line: the run resumes at the one before, and says so."""
    workdir = tmp_path / 'copy'
    shutil.copytree(tiny_run, workdir)
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


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step(capsys, tmp_path, number):
    """It ends the run with code 128 + number and a checkpoint, from which the same command goes on; until then no other run gets in."""
    command = [sys.executable, 'run.py', *TINY, f'--workdir={tmp_path}/w', '--train_steps=100000', '--checkpoint_every=100000']
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / 'w' / 'metrics.jsonl').exists():
            time.sleep(0.2)
        assert 'in use by another run' in refused(capsys, *TINY, f'--workdir={tmp_path}/w')
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    (saved,) = (tmp_path / 'w' / 'checkpoints').iterdir()
    assert f'{number.name} came: saved at step {int(saved.name)}' in err


@pytest.mark.parametrize('recipe', ['t6', 'cdrl'])
def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(capsys, tmp_path, recipe):
    """Every variable of the last checkpoint, and the log but for its clock, also where a line of it spans the interruption."""
    options = [*TINY, f'--recipe={recipe}', '--mcmc_steps=2', '--initializer_channels=8', '--log_every=4', '--checkpoint_every=3']
    options += ['--train_steps=6', '--workdir']
    assert call(capsys, *options, f'{tmp_path}/whole')[0] == 0
    shutil.copytree(tmp_path / 'whole', tmp_path / 'parts')
    shutil.rmtree(tmp_path / 'parts' / 'checkpoints' / '00000006')
    code, out, _ = call(capsys, *options, f'{tmp_path}/parts')
    assert code == 0 and 'resuming at step 3' in out
    readers = [tf.train.load_checkpoint(str(tmp_path / name / 'checkpoints' / '00000006' / 'state')) for name in ('whole', 'parts')]
    names = readers[0].get_variable_to_shape_map()
    assert len(names) > 50
    for name in names:
        np.testing.assert_array_equal(*(reader.get_tensor(name) for reader in readers), err_msg=name)
    logs = []
    for name in ('whole', 'parts'):
        lines = [json.loads(line) for line in (tmp_path / name / 'metrics.jsonl').read_text().splitlines()]
        logs.append([{key: value for key, value in line.items() if key not in ('time', 'images_per_second')} for line in lines])
    assert [line['step'] for line in logs[0]] == [4, 6] and logs[0] == logs[1]


def test_restart_keeps_the_old_run(capsys, tiny_run, tmp_path):
    workdir = tmp_path / 'w'
    shutil.copytree(tiny_run, workdir)
    code, out, err = call(capsys, *TINY, '--batch_size=4', f'--workdir={workdir}', '--train_steps=1', '--restart')
    assert code == 0 and f'{workdir}.1' in out, err
    assert [path.name for path in (workdir / 'checkpoints').iterdir()] == ['00000001']
    assert (tmp_path / 'w.1' / 'checkpoints' / '00000032').is_dir()


def test_evaluate_mode(capsys, tiny_run):
    code, out, err = call(capsys, '--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=80')
    assert code == 0, err
    assert 'Fréchet distance' in out and 'floor' in out and 'FID' not in out
    score = json.loads((tiny_run / 'evaluation' / '00000032-ema-80-seed0.json').read_text())
    assert score['frechet_distance_digits_classifier'] > score['floor'] > 0
    assert (score['num_samples'], score['num_real'], score['num_held_out'], score['image_size']) == (80, 4000, 1000, 16)


def test_init_from(capsys, tiny_run, tmp_path):
    """A new run starts at another's weights: without a step it samples the same images."""
    new = tmp_path / 'new'
    arguments = [*TINY, f'--workdir={new}', f'--init_from={tiny_run}', '--learning_rate=1e-8', '--train_steps=1']
    code, out, err = call(capsys, *arguments)
    assert code == 0 and 'starting from the ema weights' in out, err
    images = []
    for workdir in (tiny_run, new):
        assert call(capsys, '--mode=sample', f'--workdir={workdir}', '--num_samples=4', '--seed=3')[0] == 0
        path = max((workdir / 'samples').glob('*-seed3.npz'))
        images.append(np.load(path)['images'].astype(int))
    assert np.abs(images[0] - images[1]).mean() < 0.1


RUN_AWAY = [*TINY, '--learning_rate=1', '--train_steps=40', '--max_loss=50']


def test_divergence_stops_the_run(capsys, tmp_path):
    """After the rollbacks, with what the levels looked like; no checkpoint is of a step that was found bad."""
    arguments = [*RUN_AWAY, f'--workdir={tmp_path}/w', '--max_rollbacks=1', '--rollback_factor=0.9']
    line = refused(capsys, *arguments, code=3)
    assert 'ran away at step' in line and 'rolled back 1 times' in line and '--clip_norm' in line
    steps = json.loads((tmp_path / 'w' / 'rollbacks.json').read_text())
    assert len(steps) == 1
    (record, *_) = (tmp_path / 'w').glob('diverged-*.json')
    assert len(json.loads(record.read_text())['level_f_pos']) == 6
    assert not {f'{step:08d}' for step in steps} & {path.name for path in (tmp_path / 'w').glob('checkpoints/*')}


def test_a_run_that_ran_away_goes_on_with_a_lower_rate(capsys, tmp_path):
    """A learning rate of 1 runs away; the rollback makes it 1e-3, noted so that a rerun goes on with it."""
    arguments = [*RUN_AWAY, f'--workdir={tmp_path}/w', '--rollback_factor=1e-3']
    code, _, err = call(capsys, *arguments)
    assert code == 0 and (tmp_path / 'w' / 'checkpoints' / '00000040').is_dir(), err
    (step,) = json.loads((tmp_path / 'w' / 'rollbacks.json').read_text())
    lines = [json.loads(line) for line in (tmp_path / 'w' / 'metrics.jsonl').read_text().splitlines()]
    assert step < 40 and [line['step'] for line in lines] == [8, 16, 24, 32, 40]


def test_nothing_that_is_not_finite_is_kept(capsys, tmp_path, monkeypatch):
    """A NaN injected into the loss of step 11, at the first attempt alone: averages, checkpoints and log stay finite, and it ends well."""
    plain = RecoveryLikelihood.contrastive_loss

    def broken(model, *arguments):
        losses, *rest = plain(model, *arguments)
        bad = (model.optimizer.iterations.value == 10) & (model.attempt == 0)
        return tf.where(bad, float('nan'), losses), *rest

    monkeypatch.setattr(RecoveryLikelihood, 'contrastive_loss', broken)
    assert call(capsys, *TINY, f'--workdir={tmp_path}/w', '--train_steps=16', '--ema_decay=0.5')[0] == 0
    assert json.loads((tmp_path / 'w' / 'rollbacks.json').read_text()) == [11]
    record = json.loads((tmp_path / 'w' / 'diverged-11.json').read_text())
    assert record['loss'] is None and record['gradient_norm'] is None
    reader = tf.train.load_checkpoint(str(tmp_path / 'w' / 'checkpoints' / '00000016' / 'state'))
    assert all(np.isfinite(reader.get_tensor(name)).all() for name in reader.get_variable_to_shape_map())


def test_disk_full_is_one_line(capsys, tmp_path):
    """A workdir that cannot be made: a file stands in its place."""
    (tmp_path / 'file').write_text('')
    assert str(tmp_path / 'file') in refused(capsys, *TINY, f'--workdir={tmp_path}/file/w')
