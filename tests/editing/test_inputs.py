"""Masks, degradations and images of the user: what they mean, and one line for each wrong one."""

import json
import os
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import small_models
from helpers.tiny import call, refused
from PIL import Image

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.data import folder, images
from drl_tf.editing import degradations, estimation, inputs, masks, report
from drl_tf.evaluation import evaluator


def test_masks(tmp_path):
    half = masks.missing('half', 2, 6, 4)
    assert half.shape == (2, 6, 4, 1) and half[:, 3:].all() and not half[:, :3].any()
    rectangle = masks.missing('1,0,2,3', 1, 4, 4)[0, ..., 0]
    assert rectangle[1:3, :3].all() and rectangle.sum() == 6
    many = masks.missing('random:0.7', 50, 16, 16, seed=1)
    assert many.mean() == pytest.approx(0.7, abs=0.02) and (many[0] != many[1]).any()
    np.testing.assert_array_equal(masks.missing('random:0.7', 3, 16, 16, seed=1), many[:3])
    picture = np.zeros([4, 4], np.uint8)
    picture[1, 2] = 255
    Image.fromarray(picture).save(tmp_path / 'mask.png')
    np.testing.assert_array_equal(masks.missing(f'{tmp_path}/mask.png', 1, 4, 4)[0, ..., 0], picture == 255)


def test_a_deviation_is_where_the_gaps_change_sign():
    sigmas = np.geomspace(0.1, 1.6, 5)
    gaps = 10 * (np.log(sigmas) - np.log(0.3))
    assert estimation.crossing(sigmas, gaps) == pytest.approx(0.3)
    assert estimation.crossing(sigmas, np.ones(5)) == pytest.approx(0.1)
    assert estimation.crossing(sigmas, -np.ones(5)) == pytest.approx(1.6)


def test_kernels_and_shapes(tmp_path):
    np.save(tmp_path / 'kernel.npy', np.ones([3, 5]))
    found = degradations.parse(f'blur:{tmp_path}/kernel.npy', (8, 8, 1))
    assert found.kind == 'blur' and np.shape(found.kernel) == (3, 5)
    assert degradations.parse('grey', (8, 8, 3)).observed_shape((8, 8, 3)) == (8, 8, 1)
    assert degradations.parse('super4', (8, 8, 3)).observed_shape((8, 8, 3)) == (2, 2, 3)
    assert degradations.parse('noise', (8, 8, 1)).noise_std is None
    assert degradations.parse('noise:0.5', (8, 8, 1)).largest_value == pytest.approx(5, abs=1e-3)
    np.save(tmp_path / 'kernel.npy', np.array([[-1.0, 3.0]]))  # Sharpens.
    assert degradations.parse(f'blur:{tmp_path}/kernel.npy', (8, 8, 1)).largest_value > 2
    assert degradations.parse('noise:0.25', (8, 8, 1)).noise_std == pytest.approx(0.25, abs=1e-4)


def test_results_of_other_samplers_have_other_names():
    base = small_models.PRECONDITIONED.replace(mcmc_steps=(2,))
    changes = [{}, {'proposal': 'x_next'}, {'final_denoise': True}, {'noise_scale': 0.5}]
    others = [base.replace(**change) for change in changes]
    assert len({report.options_digest(config, {}) for config in others}) == 4


def test_scores_of_draws_from_the_right_distribution():
    """Coverage of the truth among R draws is (R - 1) / (R + 1); the PSNR is that of the variance, twice."""
    rng = np.random.default_rng(0)
    truth, results = (
        rng.normal(128, 20, shape).round().astype(np.uint8) for shape in ((9, 32, 32, 1), (9, 4, 32, 32, 1))
    )
    found = report.scores(truth, results)
    assert found['coverage'] == pytest.approx(0.6, abs=0.03) and found['coverage_expected'] == 0.6
    assert found['psnr'] == pytest.approx(10 * np.log10(255**2 / (2 * 20**2)), abs=0.1)
    assert found['psnr_mean'] == pytest.approx(10 * np.log10(255**2 / (1.25 * 20**2)), abs=0.1)


@pytest.fixture
def given(tmp_path):
    """Pictures that are no good as inputs or masks."""
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.png').write_text('text')
    Image.fromarray(np.zeros([9, 9], np.uint8)).save(tmp_path / 'small.png')
    Image.fromarray(np.zeros([16, 16], np.uint8)).save(tmp_path / 'black.png')
    np.savez(tmp_path / 'kernel.npz', np.ones([3, 3]))
    return tmp_path


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--mode=inpaint', '--mask=oval'], '--mask=oval must be half'),
        (['--mode=inpaint', '--mask=0,0,17,2'], 'within 16 x 16 pixels'),
        (['--mode=inpaint', '--mask={}/text.png'], 'text.png is damaged or not what its name says'),
        (['--mode=inpaint', '--mask={}/small.png'], 'small.png is 9 x 9 pixels, not 16 x 16'),
        (['--mode=inpaint', '--mask={}/black.png'], 'misses no pixel'),
        (['--mode=inpaint', '--mask=random:1.0'], '--mask=random:1.0 must have a share above 0 and below 1'),
        (['--mode=inpaint', '--mask=random:0.0'], '--mask=random:0.0 misses no pixel'),
        (['--mode=inpaint', '--input={}/empty'], 'empty holds no'),
        (['--mode=inpaint', '--input={}/none'], 'none does not exist'),
        (['--mode=inpaint', '--input={}/text.png'], 'text.png is damaged or not what its name says'),
        (['--mode=inpaint', '--method=posterior'], 'give --method=replace'),
        (['--mode=inpaint', '--method=ais'], '--method=ais is not for --mode=inpaint'),
        (['--mode=inpaint', '--labels=3'], 'the model has no classes'),
        (['--mode=restore', '--degradation=rain'], '--degradation=rain must be super2'),
        (['--mode=restore', '--degradation=grey'], 'needs a model of colour images'),
        (['--mode=restore', '--degradation=noise:0.2'], 'noise cannot be undone by --method=replace'),
        (['--mode=restore', '--degradation=blur:{}/kernel.npz'], 'is no sound .npy file'),
        (['--mode=inpaint', '--edit_steps=3'], '--edit_steps=3 needs --method=posterior'),
        (['--mode=restore', '--degraded'], '--degraded is for images of your own'),
        (['--mode=edit', '--strength=0'], '--strength=0.0 must be above 0'),
        (['--mode=interpolate', '--between=1'], '--between=1 must be'),
        (['--mode=compose', '--expression=3 &'], '--expression=3 & is not understood'),
        (['--mode=compose', '--expression=3'], 'the model has no classes; there is no class 3'),
        (['--mode=compose', '--expression=3 | 8', '--first_sample=9'], '--first_sample is not for mixtures'),
        (['--mode=compose', '--expression=1', '--labels=1'], 'drop --labels'),
    ],
)  # fmt: skip
def test_wrong_options_get_one_line(capsys, tiny_run, given, options, words):
    line = refused(capsys, f'--workdir={tiny_run}', *(option.format(given) for option in options))
    assert words in line, line


def test_mixtures_need_heights(capsys, class_run):
    """A run of cdrl refuses | and takes & with the weights of --labels."""
    run = ['--mode=compose', f'--workdir={class_run}', '--num_samples=2']
    assert 'needs normalised log densities' in refused(capsys, *run, '--expression=3 | 8')
    code, out, _ = call(capsys, *run, '--expression=3 & !8')
    assert code == 0 and 'compose3-8x-1' in out


def test_files_of_a_run(capsys, tiny_run, tmp_path):
    """A picture, arrays and a summary; seen pixels are those of the input, which is resized."""
    Image.fromarray(np.full([40, 30, 3], 77, np.uint8)).save(tmp_path / 'one.png')
    options = [f'--workdir={tiny_run}', f'--output_dir={tmp_path}/out', f'--input={tmp_path}/one.png']
    given = [*options, '--resize', '--mask=0,0,4,4', '--num_results=2', '--edit_rounds=1']
    code, _, err = call(capsys, '--mode=inpaint', *given)
    assert code == 0, err
    files = {path.suffix: path for path in (tmp_path / 'out').iterdir()}
    assert set(files) == {'.png', '.npz', '.json'}
    found = np.load(files['.npz'])['images']
    assert found.shape == (2, 16, 16, 1) and (found[:, 4:] == 77).all() and (found[:, :4, :4] != 77).any()
    assert json.loads(files['.json'].read_text())['plan']['method'] == 'replace'
    code, _, err = call(capsys, '--mode=interpolate', *options[:2], '--num_frames=3')
    assert code == 0, err
    assert {path.suffix for path in (tmp_path / 'out').iterdir()} == {'.png', '.npz', '.json', '.gif'}


def test_results_are_compared_in_the_features_of_a_given_network(capsys, tiny_run, tmp_path):
    """With a network that returns the pixels, the distance is sqrt(3) times that of the grey pixels."""
    keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()]).save(tmp_path / 'pixels.keras')
    options = [f'--workdir={tiny_run}', f'--output_dir={tmp_path}/out', '--num_inputs=2', '--num_results=2']
    extractor = f'--extractor={tmp_path}/pixels.keras'
    code, _, err = call(capsys, '--mode=inpaint', *options, '--mask=half', '--edit_rounds=1', extractor)
    assert code == 0, err
    files = {path.suffix: path for path in (tmp_path / 'out').iterdir()}
    results = np.load(files['.npz'])['images'].reshape(2, 2, -1).astype(float)
    truth = inputs.load(configuration.load(str(tiny_run)), 'test', 2, (16, 16, 1)).reshape(2, 1, -1)
    expected = 3**0.5 * np.linalg.norm((results - truth) / 127.5, axis=-1).mean()
    assert json.loads(files['.json'].read_text())['feature_distance'] == pytest.approx(expected, rel=1e-5)


def test_results_are_written_before_a_network_compares_them(capsys, monkeypatch, tiny_run, tmp_path):
    def fail(config):
        raise UserError('no network')

    monkeypatch.setattr(evaluator, 'load_extractor', fail)
    options = [f'--workdir={tiny_run}', f'--output_dir={tmp_path}/out', '--num_inputs=1', '--num_results=1']
    assert 'no network' in refused(capsys, '--mode=inpaint', *options, '--edit_rounds=1')
    files = {path.suffix: path for path in (tmp_path / 'out').iterdir()}
    assert set(files) == {'.png', '.npz', '.json'} and 'psnr' in json.loads(files['.json'].read_text())


def test_the_noise_is_estimated_with_the_weights_that_are_asked_for():
    """The log densities of 'raw' fall with the noise; those of 'ema' are all the same."""
    config = configuration.Config().replace(dataset='digits', image_size=8, image_channels=1)

    def log_prob_at(angle, weights):
        scale = {'ema': 0.0, 'raw': 1.0}[weights]
        return lambda x: -scale * tf.reduce_sum(x**2, [1, 2, 3])

    model = types.SimpleNamespace(config=config, model=types.SimpleNamespace(log_prob_at=log_prob_at))
    noisy = 0.6 * np.random.default_rng(0).normal(size=[64, 8, 8, 1])
    noisy += pixels.from_levels(inputs.load(config, 'test', 64, (8, 8, 1)).astype(float))
    assert estimation.noise_std(model, noisy) == pytest.approx(0.02)
    assert estimation.noise_std(model, noisy, 'raw') == pytest.approx(0.6, rel=0.3)


def test_the_truth_lies_among_exact_draws_as_often_as_one_of_them():
    """Seven exact draws of Gaussian images cover the truth 7 times in 8, whatever the known pixels are. Draws
    with too little spread cover it less often."""
    rng = np.random.default_rng(1)
    truth, draws = rng.normal(size=[3000, 4, 4, 1]), rng.normal(size=[3000, 7, 4, 4, 1])
    unknown = np.arange(4)[:, None, None] < 2
    moved = truth + 50 * ~unknown
    assert report.covered(moved, draws, unknown).mean() == pytest.approx(7 / 8, abs=0.025)
    assert report.covered(truth, 0.5 * draws, unknown).mean() < 0.3


def test_the_best_result_is_the_nearest_on_the_unknown_pixels():
    truth = np.zeros([1, 2, 1, 1], np.uint8)
    results = np.array([[[10, 0], [20, 99], [30, 0]]], np.uint8).reshape(1, 3, 2, 1, 1)
    found = report.scores(truth, results, np.array([[[True]], [[False]]]))
    assert found['psnr_best'] == pytest.approx(20 * np.log10(255 / 10))
    assert report.scores(truth, results)['psnr_best'] == pytest.approx(10 * np.log10(255**2 / 50))
    assert found['inside_expected'] == 3 / 4


def test_names_that_are_not_utf8_can_be_written(tmp_path):
    picture = tmp_path / os.fsdecode(b'caf\xe9.png')
    Image.new('L', (8, 8)).save(picture)
    assert inputs.names(str(tmp_path), 1) == inputs.names(str(picture), 1) == [r'caf\udce9.png']


def test_pictures_are_resized_as_in_training(tmp_path):
    """A picture of any size and kind gives, with --resize, the image that training on its folder takes."""
    rng = np.random.default_rng(0)
    for name, shape in {'a.png': [40, 60, 3], 'b.png': [16, 16, 3], 'c.png': [30, 12, 4]}.items():
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / name)
    config = configuration.Config()
    data = configuration.Data(dataset='folder', data_dir=str(tmp_path), image_size=16, image_channels=1)
    opened = folder.open_data(data).train
    trained = [images.crop_and_resize(opened.read(row), data) for row in range(opened.count)]
    np.testing.assert_array_equal(inputs.load(config, str(tmp_path), None, (16, 16, 1), True), trained)
    with pytest.raises(UserError, match=r'60 x 40 pixels, not 16 x 16: .*--resize'):
        inputs.load(config, f'{tmp_path}/a.png', 1, (16, 16, 1))


def test_only_the_images_that_are_wanted_are_read(tmp_path):
    for name in 'ab':
        Image.fromarray(np.zeros([8, 8], np.uint8)).save(tmp_path / f'{name}.png')
    (tmp_path / 'c.png').write_bytes(b'no picture')
    config = configuration.Config()
    assert inputs.load(config, str(tmp_path), 2, (8, 8, 1)).shape == (2, 8, 8, 1)
    with pytest.raises(UserError, match=r'c\.png'):
        inputs.load(config, str(tmp_path), 3, (8, 8, 1))


def test_only_pictures_are_resized():
    with pytest.raises(UserError, match='--input=test is none'):
        inputs.check('test', resize=True)
