"""`--mode=ood`: its table against scores computed by hand, and a background that is the model itself."""

import csv
import json
import pathlib

import numpy as np
import pytest
from helpers import golden
from helpers.tiny import call
from PIL import Image

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.data import pipeline
from drl_tf.evaluation import baselines
from drl_tf.evaluation.metrics import detection
from drl_tf.evaluation.metrics.detection import auroc
from drl_tf.experiments import ood, ood_report, other_sets
from drl_tf.runs import exported

SETS = ('inverted', 'letters', 'emoji')


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    """The result of 60 digits against each set, its files, and what the command printed."""
    from drl_tf.cli.main import main

    directory = tmp_path_factory.mktemp('ood')
    options = [f'--ood={",".join(SETS)}', '--num_real=60', '--background=digits', '--model=digits']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, 'RESAMPLES', 5)
        assert main(['run.py', '--mode=ood', *options, f'--output_dir={directory}']) == 0
    (path,) = directory.glob('*.json')
    return json.loads(path.read_text()), path


def test_the_figures_are_those_of_the_scores(table):
    result, _ = table
    model = drl_tf.EnergyModel.from_preset('digits')
    images = pipeline.load_images(model.config.data, 'test', 60)
    sets = other_sets.load(SETS, model.config, images, 60)
    real, mean = (
        model.anomaly_scores(images),
        baselines.png_bits(pipeline.load_images(model.config.data, 'train', 60)).mean(),
    )
    for name, others in sets.items():
        scores = model.anomaly_scores(others)
        expected = {
            'lowest_level': auroc(-real.energy[:, 0], -scores.energy[:, 0]),
            'scoring_level': auroc(-real.energy[:, 1], -scores.energy[:, 1]),
            'gradient': auroc(-real.total_gradient, -scores.total_gradient),
            'png_size': auroc(*(-np.abs(baselines.png_bits(x) - mean) for x in (images, others))),
        }
        found = {score: result['sets'][name][score]['auroc'] for score in expected}
        assert found == pytest.approx(expected, abs=0.002)
    assert result['sets']['letters']['typicality']['auroc'] > 0.6
    assert result['sets']['inverted']['mahalanobis']['auroc'] > 0.9


def test_the_ratio_to_the_model_itself_says_nothing(table):
    """log p - log p is 0 for every image, up to rounding of float32."""
    for scores in table[0]['sets'].values():
        assert 0.25 < scores['ratio_to_background']['auroc'] < 0.75


def test_counts_and_files(table):
    result, path = table
    assert list(result['sets']) == list(SETS)
    counts = {(found['num_real'], found['num_other']) for scores in result['sets'].values()
              for found in scores.values()}  # fmt: skip
    assert counts == {(60, 60)}
    with open(path.with_suffix('.csv')) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(ood_report.TITLES) and rows[0]['num_other'] == '60'
    first = result['sets'][rows[0]['set']][rows[0]['score']]
    assert float(rows[0]['auroc_high']) == pytest.approx(first['auroc_interval'][1])
    lines = path.with_suffix('.md').read_text().splitlines()
    assert lines[0] == '| AUROC | inverted | letters | emoji |' and len(lines) == 3 * 12 + 1
    low, high = first['auroc_interval']
    assert lines[2].startswith(f'| log p, level 0 | {first["auroc"]:.3f} [{low:.3f}, {high:.3f}]')
    assert path.with_suffix('.png').stat().st_size > 10_000


def test_two_models_write_to_one_directory(capsys, tmp_path, monkeypatch):
    """Neither table replaces the other. The name of a set may hold dollars."""
    monkeypatch.setattr(detection, 'RESAMPLES', 5)
    pictures = tmp_path / 'cost_$5_vs_$6'
    pictures.mkdir()
    for name in 'ab':
        Image.fromarray(np.zeros([8, 8], np.uint8)).save(pictures / f'{name}.png')
    for recipe in ('t6', 'cdrl'):
        workdir = golden.copied(recipe, tmp_path / recipe)
        given = [f'--workdir={workdir}', f'--ood=folder:{pictures}', f'--output_dir={tmp_path}/out']
        code, _, err = call(capsys, '--mode=ood', *given, '--num_real=20')
        assert code == 0, err
    results = [json.loads(path.read_text()) for path in (tmp_path / 'out').glob('*.json')]
    assert len({result['weights_sha256'] for result in results}) == len(results) == 2


def test_typical_images_are_random_ones_of_data_in_the_order_of_their_classes(tmp_path, monkeypatch):
    """10 of 40, although more training images are loaded for another score."""
    digits = exported.load_config(exported.find('digits'))
    for split, count in (('train', 4), ('test', 1)):
        for index, image in enumerate(pipeline.load_images(digits.data, split, 10 * count)[..., 0]):
            path = tmp_path / split / f'class{index // count}' / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    config = digits.replace(dataset='folder', data_dir=str(tmp_path), extractor='digits_classifier')
    seen = []

    def scored(scoring, images, what):
        seen.append((what, images))
        raise UserError('that is all')

    monkeypatch.setattr(ood, 'TYPICAL_IMAGES', 10)
    monkeypatch.setattr(ood, 'scored', scored)
    with pytest.raises(UserError, match='that is all'):
        ood.ood(config, exported.find('digits'), ood.Plan(('white',)))
    ((what, images),) = seen
    assert what == 'train'
    np.testing.assert_array_equal(images, pipeline.load_images(config.data, 'train', 10))
    assert not np.array_equal(images, pipeline.load_images(config.data, 'train')[:10])


def test_a_missing_dataset_gets_one_line(capsys, tmp_path, monkeypatch):
    """Before the model is loaded."""
    monkeypatch.setattr(ood, 'load', None)
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9')
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')
    given = ['--model=digits', f'--output_dir={tmp_path}/out', f'--data_dir={tmp_path}/data']
    code, _, err = call(capsys, '--mode=ood', '--ood=cifar10', '--num_real=20', *given)
    lines = [line for line in err.splitlines() if line.startswith('error: ')]
    assert code == 2 and len(lines) == 1 and 'cifar10' in lines[0], err
    assert not pathlib.Path(tmp_path / 'out').exists()
