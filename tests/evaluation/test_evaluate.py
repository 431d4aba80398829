"""Scores through the command line: of a run, and of samples made elsewhere."""

import dataclasses

import numpy as np
import pytest
from helpers import stand_in
from helpers.tiny import TINY, refused, scores
from PIL import Image

from drl_tf.config import config as configuration
from drl_tf.data import indexed
from drl_tf.evaluation import evaluator
from drl_tf.evaluation.metrics import extractors, score
from drl_tf.runs import checkpoint, samples

FRECHET = 'frechet_distance_digits_classifier'
STAND_IN = 'frechet_distance_stand_in_for_inception'
DIGITS = ['--dataset=digits', '--image_size=16', '--num_classes=0']


def test_some_pictures_of_ones_own_are_random_ones_of_the_split(tmp_path):
    """Of ten grey levels in order, with the last one held out, three are not the first three."""
    for value in range(10):
        Image.new('L', (8, 8), value).save(tmp_path / f'{value}.png')
    folder = configuration.Config().replace(
        dataset='folder', data_dir=str(tmp_path), image_size=8, image_channels=1, num_real=3
    )
    plain = extractors.Extractor('plain', 'abc', 'none', lambda images: (images[:, 0, 0].astype(float), None))
    found = evaluator.summarise(folder, plain, 'train', keep=3, part='')
    assert found.images == f'3 random images of the train split of folder {tmp_path} at 8 px'
    assert np.ravel(found.features).tolist() == indexed.random_places(3, 9).tolist() != [0, 1, 2]
    whole = evaluator.summarise(folder.replace(num_real=0), plain, 'train', keep=3, part='')
    assert np.ravel(whole.features).tolist() == indexed.random_places(3, 9).tolist() and whole.count == 9


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
    model, _ = checkpoint.load_model(str(tiny_run))
    assert score['weights_sha256'] == samples.fingerprint(model, 'ema')
    assert score['precision'] < 0.3 and max(score['recall'], score['coverage']) < 0.1


def test_seeds_give_mean_and_deviation_and_no_sample_is_drawn_twice(capsys, tiny_run):
    arguments = ['--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=24']
    _, alone = scores(capsys, *arguments)
    shards = {path: path.stat().st_mtime_ns for path in (tiny_run / 'samples').glob('*-24-seed0/*.npz')}
    out, both = scores(capsys, *arguments, '--evaluation_seeds=0,4')
    assert shards and shards == {path: path.stat().st_mtime_ns for path in shards}
    one, two = (seed[FRECHET] for seed in both['by_seed'])
    assert one == alone[FRECHET] != two and both['seeds'] == [0, 4]
    assert both[FRECHET] == pytest.approx((one + two) / 2)
    assert both['deviation'][FRECHET] == pytest.approx(abs(one - two) / np.sqrt(2))
    assert 'floor' not in both['deviation'] and both['floor'] == alone['floor']
    (floor,) = [line for line in out.splitlines() if 'its floor' in line]
    assert '±' not in floor


def test_real_digits_from_a_file_and_from_pictures_are_at_the_floor(capsys, tmp_path, held_out):
    np.savez(tmp_path / 'real.npz', images=held_out[:500])
    (tmp_path / 'pictures').mkdir()
    for index, image in enumerate(held_out[:500]):
        Image.fromarray(image[..., 0]).save(tmp_path / 'pictures' / f'{index:04}.png')
    found = [
        scores(capsys, '--mode=evaluate', *DIGITS, f'--samples={tmp_path / name}', '--num_real=500')[1]
        for name in ('real.npz', 'pictures')
    ]
    assert found[0][FRECHET] == pytest.approx(found[0]['floor']) == pytest.approx(found[1][FRECHET])
    assert found[0][f'{FRECHET}_held_out_size'] == pytest.approx(found[0]['floor'])
    assert found[0]['precision'] > 0.8 and found[0]['recall'] > 0.8 and found[0]['num_samples'] == 500
    assert len([*tmp_path.glob('real.npz-digits_classifier-*.json')]) == 1 and not [*tmp_path.glob('*.parts')]


@pytest.mark.slow
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


@pytest.mark.slow
def test_inception_is_called_fid(capsys, tmp_path, held_out, monkeypatch):
    """The distance itself, over 2,048 features, is that of `test_a_network_in_the_place_of_inception`."""
    monkeypatch.setattr(extractors, 'recognises', lambda run: True)
    monkeypatch.setattr(score, 'frechet_distance_from_moments', lambda *moments: 1.5)
    path = stand_in.save(tmp_path / 'alike', convolutions=stand_in.CONVOLUTIONS)
    np.save(tmp_path / 'samples.npy', held_out[:24])
    options = [f'--inception={path}', f'--samples={tmp_path}/samples.npy', '--num_real=40']
    out, found = scores(capsys, '--mode=evaluate', *DIGITS, *options)
    assert (
        'FID' in out
        and 'KID' in out
        and 'Inception score' in out
        and 'the first 40 images of the train split of digits' in out
    )
    assert {'fid', 'kid', 'kid_error', 'inception_score', 'inception_score_deviation'} <= found.keys()
    assert found['fid'] == 1.5


def test_evaluations_that_differ_have_files_that_differ(capsys, tiny_run):
    arguments = ['--mode=evaluate', f'--workdir={tiny_run}', '--num_samples=24']
    different = ['--num_real=100', '--num_real=90', '--evaluation_seeds=0,4', '--evaluation_seeds=0,1']
    paths = {scores(capsys, *arguments, '--num_real=100', option)[0].split()[-1] for option in different}
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
