"""Files of statistics of real images, in the place of the images."""

import json
import shutil

import keras
import numpy as np
import pytest
from helpers.tiny import call, refused, scores
from PIL import Image

FRECHET = 'frechet_distance_digits_classifier'

DIGITS = ['--dataset=digits', '--image_size=16', '--num_classes=0']


@pytest.mark.slow
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
    """Evaluation refuses colour statistics for grey images. --mode=stats writes to no directory."""
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
