"""`--mode=score`: the files for a folder of images, and images that are refused."""

import csv
import json
import os
import pathlib

import numpy as np
import pytest
from helpers import golden
from helpers.tiny import call, refused
from PIL import Image

from drl_tf.config import config as configuration
from drl_tf.data import pipeline
from drl_tf.experiments import score, score_pictures
from drl_tf.runs import exported
from drl_tf.runs.scores import Scores

DIGITS = exported.load_config(exported.find('digits'))
SMALL = configuration.load(str(golden.DIRECTORY / 't6'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Twelve held-out digits, a white image and noise."""
    directory = tmp_path_factory.mktemp('images')
    images = pipeline.load_images(DIGITS.data, 'test', 12)[..., 0]
    noise = np.random.default_rng(0).integers(0, 256, [16, 16]).astype(np.uint8)
    white = np.full([16, 16], 255, np.uint8)
    for name, image in [*((f'digit{i:02d}', image) for i, image in enumerate(images)), ('noise', noise)]:
        Image.fromarray(image).save(directory / f'{name}.png')
    (directory / 'more').mkdir()
    Image.fromarray(white).save(directory / 'more' / 'white.png')
    return directory


def scored(capsys, *arguments):
    """The directory that a command has written, and the rows of its CSV file."""
    code, out, err = call(capsys, '--mode=score', *arguments)
    assert code == 0, err
    directory = pathlib.Path(out.split()[-1])
    with open(directory / 'scores.csv') as file:
        return directory, list(csv.DictReader(file)), out


def test_a_folder_is_scored_by_the_model_of_the_package(capsys, folder, tmp_path):
    import drl_tf

    directory, rows, out = scored(
        capsys, '--model=digits', f'--output_dir={tmp_path}', f'--input={folder}', '--num_real=50',
        '--save_images',
    )  # fmt: skip
    names = [row['image'] for row in rows]
    assert names == [*(f'digit{i:02d}.png' for i in range(12)), 'more/white.png', 'noise.png']
    model = drl_tf.EnergyModel.from_preset('digits')
    images = np.stack([np.asarray(Image.open(folder / name)) for name in names])[..., None]
    expected = model.anomaly_scores(images)
    for column, values in {
        'energy_0': expected.energy[:, 0], 'energy_all': expected.energy.sum(1),
        'log_prob_1': expected.log_prob[:, 1], 'bits_per_dim_all': expected.bits_per_dim.sum(1),
        'gradient_5': expected.gradient[:, 5], 'gradient_all': expected.total_gradient,
    }.items():  # fmt: skip
        found = [float(row[column]) for row in rows]
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=0.05, err_msg=column)
    train = model.energy(pipeline.load_images(DIGITS.data, 'train', 50))
    typicality = np.abs(expected.scoring_energy - train.mean()) / train.std()
    ranks = [int(row['rank']) for row in rows]
    assert ranks == (np.argsort(np.argsort(typicality)) + 1).tolist()
    assert set(ranks[-2:]) == {13, 14}  # White and noise.
    np.testing.assert_allclose([float(row['typicality']) for row in rows], typicality, rtol=1e-3)
    worst, second = (names[ranks.index(rank)] for rank in (14, 13))
    assert f'least typical     {worst}, {second}, ' in out and 'more than 3 deviations' in out
    for name in ('histogram.png', 'sheet.png', 'maps.png'):
        assert np.asarray(Image.open(directory / name)).std() > 10
    maps = sorted((directory / 'maps').iterdir())
    assert len(maps) == 14 and Image.open(maps[0]).size == (16, 16)
    summary = json.loads((directory / 'summary.json').read_text())
    assert summary['num_images'] == 14 and summary['anomalous'] == int((typicality > 3).sum()) >= 2
    assert not (tmp_path / 'config.json').exists()


def test_images_of_ones_own_test_split_have_their_own_names(tmp_path):
    """Three of ten digits, chosen at random, are named as the files that hold them. A second call leaves no
    map of the first."""
    images = pipeline.load_images(SMALL.data, 'test', 10)[..., 0]
    for split in ('train', 'test'):
        for index, image in enumerate(images):
            (tmp_path / 'data' / split / f'class{index}').mkdir(parents=True)
            Image.fromarray(image).save(tmp_path / 'data' / split / f'class{index}' / 'a.png')
    own = SMALL.replace(dataset='folder', data_dir=f'{tmp_path}/data')
    plan = score.Plan(output_dir=str(tmp_path), save_images=True)
    for count in (3, 2):
        found = score.score(own.replace(num_real=count), str(golden.DIRECTORY / 't6'), plan)
        assert len(os.listdir(f'{found["scores"]}/maps')) == count
        with open(f'{found["scores"]}/scores.csv') as file:
            names = [row['image'] for row in csv.DictReader(file)]
        taken = [np.asarray(Image.open(name)) for name in names]
        np.testing.assert_array_equal(taken, pipeline.load_images(own.data, 'test', count)[..., 0])
        assert names != [f'{tmp_path}/data/test/class{index}/a.png' for index in range(count)]


def test_a_run_scores_its_test_split(capsys, tmp_path):
    """Without heights there are energies alone."""
    workdir = golden.copied('t6', tmp_path / 't6')
    directory, rows, out = scored(capsys, f'--workdir={workdir}', '--num_real=9')
    assert directory.parent == workdir / 'scores' and len(rows) == 9 and 'log_prob_0' not in rows[0]
    assert '--method=direct' in out


def test_pictures_of_any_name_are_scored_by_two_models_into_one_directory(capsys, tmp_path):
    """Names that are no UTF-8, or mathematics to matplotlib. No result replaces another. Pictures are
    resized, one picture can be scored alone, and raw and averaged weights differ."""
    (tmp_path / 'in').mkdir()
    for name in (b'caf\xe9.png', b'cost_$5_vs_$6.png'):
        with open(os.path.join(os.fsencode(tmp_path), b'in', name), 'wb') as file:
            Image.fromarray(np.zeros([20, 12, 3], np.uint8)).save(file, 'png')
    runs, found = {recipe: golden.copied(recipe, tmp_path / recipe) for recipe in ('t6', 'cdrl')}, {}

    def into_one(recipe, pictures, *options):
        given = [f'--workdir={runs[recipe]}', f'--input={pictures}', f'--output_dir={tmp_path}/out']
        directory, rows, _ = scored(capsys, *given, '--num_real=9', '--resize', *options)
        found[directory] = json.loads((directory / 'summary.json').read_text())['weights_sha256']
        return rows

    for recipe in runs:
        rows = into_one(recipe, tmp_path / 'in')
        assert [row['image'] for row in rows] == [r'caf\udce9.png', 'cost_$5_vs_$6.png']
        assert {row['rank'] for row in rows} == {'1', '2'}
    (raw,) = into_one('cdrl', tmp_path / 'in' / 'cost_$5_vs_$6.png', '--weights=raw')
    assert raw['image'] == 'cost_$5_vs_$6.png' and raw['rank'] == '1'
    assert float(raw['energy_0']) != pytest.approx(float(rows[1]['energy_0']), rel=1e-5)
    assert len(found) == len(set(found.values())) == 3


BAD = {
    'an empty folder': ({}, 'holds no images'),
    'a text': ({'a.png': b'text'}, 'a.png is damaged or not what its name says'),
    'another size': ({'a.png': np.zeros([8, 16], np.uint8)}, 'a.png is 16 x 8 pixels, not 16 x 16'),
    'colours': ({'a.png': np.arange(768, dtype=np.uint8).reshape(16, 16, 3)}, 'a.png has colours'),
}


@pytest.mark.parametrize('kind', BAD)
@pytest.mark.parametrize('option', ['--mode=score --input=', '--mode=ood --ood=folder:'])
def test_wrong_images_get_one_line(capsys, tmp_path, kind, option):
    files, words = BAD[kind]
    (tmp_path / 'in').mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (tmp_path / 'in' / name).write_bytes(content)
        else:
            Image.fromarray(content).save(tmp_path / 'in' / name)
    mode, start = option.split()
    given = ('--model=digits', f'--output_dir={tmp_path}/out', '--num_real=20')
    assert words in refused(capsys, mode, f'{start}{tmp_path}/in', *given)


def test_options_that_do_not_fit_get_one_line(capsys, tmp_path):
    given = ('--model=digits', f'--output_dir={tmp_path}')
    line = refused(capsys, '--mode=score', '--input=nowhere', *given)
    assert line.startswith('error: --input=nowhere does not exist: give test, a picture')
    assert '--background is for --mode=ood' in refused(capsys, '--mode=score', '--background=digits', *given)
    assert '--ood=noize is unknown' in refused(capsys, '--mode=ood', '--ood=noize', *given)
    line = refused(capsys, '--mode=ood', '--background=toy_checkerboard', *given)
    assert '--background=toy_checkerboard is a model of images [1, 1, 2], not [16, 16, 1]' in line
    assert '--background=none must be' in refused(capsys, '--mode=ood', '--background=none', *given)
    points = ('--model=toy_checkerboard', f'--output_dir={tmp_path}')
    assert '--mode=score is for images' in refused(capsys, '--mode=score', *points)


def test_pictures_take_one_image_and_many_levels(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [103, 8, 8, 3]).astype(np.uint8)
    maps = rng.uniform(size=[2, 9, 8, 8])
    scores = Scores(np.arange(9), 0, np.ones([2, 9]), np.ones([2, 9]), maps)
    score_pictures.panel(str(tmp_path / 'panel.png'), images[:2], scores, ['a', 'b'])
    score_pictures.sheet(str(tmp_path / 'many.png'), images, np.arange(103.0))
    score_pictures.sheet(str(tmp_path / 'one.png'), images[:1], np.ones(1))
    score_pictures.histogram(str(tmp_path / 'flat.png'), {'a': np.ones(3), 'b': np.ones(1)})
    assert len(list(tmp_path.glob('*.png'))) == 4
    many = np.asarray(Image.open(tmp_path / 'many.png'))
    assert many.shape[1] % 10 == 0 and many.shape[2] == 3
