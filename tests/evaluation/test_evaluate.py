"""Scores through the command line: of a run, of samples made elsewhere, while training; and statistics of
real images."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from helpers import stand_in
from helpers.tiny import TINY, call, refused
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.cli.main import main
from drl_tf.config.config import Data
from drl_tf.data import pipeline
from drl_tf.evaluation import evaluator
from drl_tf.evaluation.metrics import extractors
from drl_tf.runs import checkpoint

FRECHET = 'frechet_distance_digits_classifier'
STAND_IN = 'frechet_distance_stand_in_for_inception'
DIGITS = ['--dataset=digits', '--image_size=16', '--num_classes=0']


@pytest.fixture(scope='module')
def inception(tmp_path_factory):
    return stand_in.save(tmp_path_factory.mktemp('networks') / 'inception')


@pytest.fixture(scope='module')
def held_out():
    return pipeline.load_images(Data(image_size=16), 'test')


def scores(capsys, *arguments):
    """Output and written scores of a command."""
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    with open(next(word for word in out.split() if word.endswith('.json')), encoding='utf-8') as file:
        return out, json.load(file)


def test_digits_are_scored_by_their_classifier(capsys, tiny_run):
    out, score = scores(capsys, '--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=80')
    assert 'Fréchet distance' in out and 'floor' in out and 'FID' not in out
    assert score[FRECHET] > score['floor'] > 0
    assert (score['num_samples'], score['num_real'], score['num_held_out'], score['step']) == (
        80,
        4000,
        1000,
        32,
    )
    assert (
        score['kernel_distance_digits_classifier'] > 10 * score['kernel_distance_digits_classifier_error'] > 0
    )
    assert score['extractor'] == 'digits_classifier' and score['resize'] and score['warning'] is None
    assert all(score[name] < 0.1 for name in ('precision', 'recall', 'coverage'))


def test_seeds_give_mean_and_deviation_and_no_sample_is_drawn_twice(capsys, tiny_run):
    arguments = ['--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=24']
    _, alone = scores(capsys, *arguments)
    shards = {path: path.stat().st_mtime_ns for path in (tiny_run / 'samples').glob('*-24-seed0/*.npz')}
    _, both = scores(capsys, *arguments, '--evaluation_seeds=0,4')
    assert shards and shards == {path: path.stat().st_mtime_ns for path in shards}
    one, two = (seed[FRECHET] for seed in both['by_seed'])
    assert one == alone[FRECHET] != two and both['seeds'] == [0, 4]
    assert both[FRECHET] == pytest.approx((one + two) / 2)
    assert both['deviation'][FRECHET] == pytest.approx(abs(one - two) / np.sqrt(2))


def test_real_digits_from_a_file_and_from_pictures_are_at_the_floor(capsys, tmp_path, held_out):
    np.savez(tmp_path / 'real.npz', images=held_out)
    (tmp_path / 'pictures').mkdir()
    for index, image in enumerate(held_out):
        Image.fromarray(image[..., 0]).save(tmp_path / 'pictures' / f'{index:04}.png')
    found = [
        scores(capsys, '--mode=evaluate', *DIGITS, f'--samples={tmp_path / name}')[1]
        for name in ('real.npz', 'pictures')
    ]
    assert found[0][FRECHET] == pytest.approx(found[0]['floor']) == pytest.approx(found[1][FRECHET])
    assert found[0][f'{FRECHET}_held_out_size'] == pytest.approx(found[0]['floor'])
    assert found[0]['precision'] > 0.8 and found[0]['recall'] > 0.8 and found[0]['num_samples'] == 1000
    assert len([*tmp_path.glob('real.npz-digits_classifier-*.json')]) == 1 and not [*tmp_path.glob('*.parts')]


def test_a_network_in_the_place_of_inception(capsys, tiny_run, inception):
    """The whole path, with the outputs of Inception; but what is not Inception is never called FID."""
    arguments = [
        '--mode=evaluate',
        f'--workdir={tiny_run}',
        f'--inception={inception}',
        '--num_samples=24',
        '--num_real=40',
    ]
    out, score = scores(capsys, *arguments)
    assert 'FID' not in out and 'Inception score' not in out and 'fid' not in score
    assert score[STAND_IN] > 0 and score['num_real'] == 40 and 'floor' not in score
    assert '24 images are no more than the 2048 features' in score['warning']
    assert 1 <= score['classifier_score_stand_in_for_inception'] <= 1008


def test_inception_is_called_fid(capsys, tmp_path, held_out, monkeypatch):
    monkeypatch.setattr(extractors, 'recognises', lambda run: True)
    path = stand_in.save(tmp_path / 'alike', convolutions=stand_in.CONVOLUTIONS)
    np.save(tmp_path / 'samples.npy', held_out[:24])
    options = [f'--inception={path}', f'--samples={tmp_path}/samples.npy', '--num_real=40']
    out, score = scores(capsys, '--mode=evaluate', *DIGITS, *options)
    assert (
        'FID' in out
        and 'KID' in out
        and 'Inception score' in out
        and 'the first 40 images of the train split of digits' in out
    )
    assert {'fid', 'kid', 'kid_error', 'inception_score', 'inception_score_deviation'} <= score.keys()


def test_statistics_take_the_place_of_the_images(capsys, caplog, tiny_run, tmp_path):
    path, larger = tmp_path / 'digits.npz', tmp_path / 'larger.npz'
    assert (
        call(capsys, '--mode=stats', *DIGITS, '--image_size=32', '--num_real=20', f'--stats_file={larger}')[0]
        == 0
    )
    code, out, err = call(capsys, '--mode=stats', *DIGITS, f'--stats_file={path}')
    assert code == 0 and str(path) in out, err
    arguments = ['--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=24']
    _, direct = scores(capsys, *arguments)
    _, through = scores(capsys, *arguments, f'--stats_file={path}')
    same = [
        FRECHET,
        'kernel_distance_digits_classifier',
        'precision',
        'recall',
        'density',
        'coverage',
        'real',
        'num_real',
    ]

    for name in same:
        assert through[name] == direct[name] or through[name] == pytest.approx(direct[name]), name
    assert 'floor' not in through
    code, _, err = call(
        capsys, '--mode=stats', *DIGITS, f'--stats_file={path}', '--nokeep_features', '--split=test'
    )
    assert code == 0, err
    _, without = scores(capsys, *arguments, f'--stats_file={path}')
    assert (
        'precision' not in without
        and without['num_real'] == 1000
        and 'of the test split of digits' in caplog.text
    )
    assert '32 px and 1 channels, the scores are of 16 px' in refused(
        capsys, '--mode=evaluate', f'--workdir={tiny_run}', f'--stats_file={larger}'
    )


def test_a_run_does_not_write_over_the_statistics_that_it_is_scored_against(
    capsys, monkeypatch, tiny_run, tmp_path
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, tmp_path / 'w')
    config = json.loads((tmp_path / 'w' / 'config.json').read_text())
    config['evaluation']['stats_file'] = str(tmp_path / 'mine.npz')
    (tmp_path / 'w' / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'mine.npz').write_text('mine')
    code, _, err = call(capsys, '--mode=stats', f'--workdir={tmp_path}/w', '--num_real=50')
    assert code == 0 and (tmp_path / 'mine.npz').read_text() == 'mine', err
    assert len([*tmp_path.glob('statistics/digits_16_train-digits_classifier-*.npz')]) == 1


def test_colour_statistics_are_not_for_grey_images(capsys, tmp_path, held_out):
    """And a directory is no file to write."""
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]).save(
        tmp_path / 'own.keras'
    )
    np.save(tmp_path / 's.npy', held_out[:30])
    mine = [
        *DIGITS,
        f'--extractor={tmp_path}/own.keras',
        '--num_real=30',
        f'--stats_file={tmp_path}/colour.npz',
    ]
    assert call(capsys, '--mode=stats', *mine, '--image_channels=3')[0] == 0
    line = refused(capsys, '--mode=evaluate', f'--samples={tmp_path}/s.npy', *mine[:-2], mine[-1])
    assert '16 px and 3 channels, the scores are of 16 px and 1' in line
    assert 'is a directory' in refused(capsys, '--mode=stats', *mine[:-1], f'--stats_file={tmp_path}')


def test_statistics_of_another_folder_are_warned_of(capsys, caplog, tmp_path, held_out):
    for name, images in (('a', held_out[:30]), ('b', held_out[30:60])):
        (tmp_path / name).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(tmp_path / name / f'{index:04}.png')
    np.save(tmp_path / 's.npy', held_out[60:90])
    folder = [
        '--dataset=folder',
        '--image_size=16',
        '--extractor=digits_classifier',
        '--image_channels=1',
        f'--stats_file={tmp_path}/a.npz',
    ]
    assert call(capsys, '--mode=stats', *folder, f'--data_dir={tmp_path}/a')[0] == 0
    scored = ['--mode=evaluate', *folder, f'--samples={tmp_path}/s.npy']
    assert (
        call(capsys, *scored, f'--data_dir={tmp_path}/a')[0] == 0
        and 'the scores are against' not in caplog.text
    )
    assert (
        call(capsys, *scored, f'--data_dir={tmp_path}/b')[0] == 0
        and f'not the train split of folder {tmp_path}/b' in caplog.text
    )


def test_statistics_of_another_extractor_are_refused(capsys, tiny_run, tmp_path, inception):
    path = tmp_path / 'inception.npz'
    assert (
        call(
            capsys,
            '--mode=stats',
            *DIGITS,
            f'--stats_file={path}',
            f'--inception={inception}',
            '--num_real=20',
        )[0]
        == 0
    )
    line = refused(
        capsys, '--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=8', f'--stats_file={path}'
    )
    assert str(path) in line and 'digits_classifier' in line and 'stand_in_for_inception' in line


@pytest.fixture(scope='module')
def scored_run(tmp_path_factory):
    """The workdir of a run that is scored at steps 4, 8 and 10, and its command."""
    workdir = tmp_path_factory.mktemp('runs') / 'scored'
    every = ['--evaluate_every=4', '--evaluate_samples=24', '--checkpoint_every=1', '--train_steps=10']
    every.append('--num_real=200')
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
    assert checkpoint.steps(workdir) == [8, 9, 10]
    checkpoint.keep_best(workdir, 8, {FRECHET: 0})
    shutil.rmtree(workdir / 'checkpoints' / '00000008')
    arguments = ['--num_samples=24', '--num_real=200', '--best']
    _, again = scores(capsys, '--mode=evaluate', f'--workdir={workdir}', *arguments)
    assert again['step'] == 8 and again[FRECHET] == pytest.approx(lines[1][FRECHET], rel=1e-3)


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


def test_evaluations_that_differ_have_files_that_differ(capsys, tiny_run):
    arguments = ['--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=24']
    different = [[], ['--num_real=500'], ['--evaluation_seeds=1,2'], ['--evaluation_seeds=1,3']]
    paths = {scores(capsys, *arguments, *options)[0].split()[-1] for options in different}
    assert len(paths) == 4 and not [*tiny_run.glob('evaluation/*.parts')]


def test_a_folder_with_hardly_a_held_out_picture_is_scored(capsys, tmp_path, held_out):
    (tmp_path / 'pictures').mkdir()
    for index, image in enumerate(held_out[:12]):
        Image.fromarray(image[..., 0]).save(tmp_path / 'pictures' / f'{index:04}.png')
    np.save(tmp_path / 'samples.npy', held_out[12:24])
    where = ['--dataset=folder', f'--data_dir={tmp_path}/pictures', '--image_size=16', '--image_channels=1']
    _, score = scores(
        capsys,
        '--mode=evaluate',
        *where,
        f'--samples={tmp_path}/samples.npy',
        '--extractor=digits_classifier',
    )
    assert score[FRECHET] > 0 and score['num_real'] == 11 and 'floor' not in score


def test_what_cannot_be_scored_is_said_before_any_work(capsys, tmp_path, tiny_run):
    workdir = tmp_path / 'w'
    assert 'best' in refused(capsys, '--mode=sample', f'--workdir={tiny_run}', '--best')
    assert '--samples' in refused(capsys, '--mode=sample', f'--workdir={tiny_run}', '--samples=x.npz')
    assert 'no/such/net' in refused(
        capsys, *TINY, f'--workdir={workdir}', '--evaluate_every=5', '--extractor=no/such/net'
    )
    assert 'x.npz' in refused(capsys, '--mode=evaluate', *DIGITS, f'--samples={tmp_path}/x.npz')
    assert '--workdir' in refused(capsys, '--mode=evaluate', *DIGITS)
    assert 'absent.npz' in refused(
        capsys, *TINY, '--mode=train,evaluate', f'--workdir={workdir}', '--stats_file=absent.npz'
    )
    assert not workdir.exists()
    for flags, words in [
        (['--samples=x.npz', '--num_samples=9'], 'drop --num_samples'), (['--samples='], 'must be a path'),
        (['--evaluation_seeds=1,1'], 'different seeds'), (['--num_real=9', '--stats_file=x.npz'],
        'drop one of them'),
    ]:  # fmt: skip
        assert words in refused(capsys, '--mode=evaluate', f'--workdir={tiny_run}', *flags)


def test_an_extractor_is_loaded_once_and_real_images_go_through_it_once(capsys, tiny_run, monkeypatch):
    """The check before the work loads it; another evaluation of the run takes the features that it keeps."""
    loaded, taken, load = [], [], extractors.load

    def counted(*arguments):
        loaded.append(arguments)
        extractor = load(*arguments)

        def run(images):
            taken.append(len(images))
            return extractor.run(images)

        return dataclasses.replace(extractor, run=run)

    monkeypatch.setattr(extractors, 'load', counted)
    evaluator.loaded.clear()
    arguments = ['--mode=evaluate', f'--workdir={tiny_run}', '--num_real=30']
    _, first = scores(capsys, *arguments, '--num_samples=21')
    assert len(loaded) == 1 and sum(taken) == 2 * 30 + 21
    taken.clear()
    _, second = scores(capsys, *arguments, '--num_samples=20')
    assert len(loaded) == 1 and sum(taken) == 20 and second['real'] == first['real']
    scores(capsys, *arguments[:2], '--num_real=31', '--num_samples=20')
    assert sum(taken) == 20 + 2 * 31 + 20
