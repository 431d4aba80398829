"""`--mode=likelihood --method=direct`: refusals, notes, and when a stored result is computed again."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from helpers import golden

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.data import digits
from drl_tf.experiments import direct_likelihood


def test_too_few_training_images_for_log_z_are_refused_in_one_line():
    workdir = str(golden.DIRECTORY / 'preconditioned')
    config = configuration.load(workdir).replace(num_real=9)
    with pytest.raises(UserError) as error:
        direct_likelihood.likelihood(config, workdir)
    assert str(error.value) == (
        'log Z needs at least 10 training images: --dataset=digits with --num_real=9 gives 9; raise '
        '--num_real, add images, or give --method=ais'
    )


def test_what_is_noted_of_a_direct_figure():
    config = Config().replace(image_size=8, image_channels=1)
    near = {'density_bennett': 3.0, 'density_integration': 3.02}
    assert direct_likelihood.notes(config, near, 31.0) == []
    (note,) = direct_likelihood.notes(config, {**near, 'density_integration': 3.5}, -31.0)
    assert '0.5 bits/dim apart' in note and '--recovery_nce' in note
    (note,) = direct_likelihood.notes(config, near, -4420.1)
    assert 'log Z_0 is -4,420 nats' in note and '--method=ais' in note
    with_classes = config.replace(num_classes=3)
    assert direct_likelihood.notes(with_classes, near, 0.0) == ['of the model without a class']
    off_data = dict(energy='preconditioned', objective='score_matching', act='swish', recovery_off_data=0.1)
    (note,) = direct_likelihood.notes(config.replace(**off_data), near, 0.0)
    assert 'white, black and shifted images are no new ones' in note


def test_a_result_depends_on_every_image_that_it_averages(tmp_path, monkeypatch):
    """The test split has more images than those that are weighed beside each other; the last one changes."""
    source = golden.DIRECTORY / 'heights'
    shutil.copytree(source, tmp_path / 'w', ignore=shutil.ignore_patterns('saved_model', 'likelihood'))
    images, labels = (np.resize(array, [1001, *array.shape[1:]]) for array in digits.load('test'))
    changed = np.concatenate([images[:-1], 255 - images[-1:]])
    config = configuration.load(str(tmp_path / 'w')).replace(sample_batch_size=1001)
    written = []
    for test in (images, images, changed):
        splits = {'train': (images[:10], labels[:10]), 'test': (test, labels)}
        monkeypatch.setattr(digits, 'load', splits.get)
        written.append(direct_likelihood.likelihood(config, str(tmp_path / 'w'))['likelihood'])
    assert written[0] == written[1] != written[2]
    before, after = (json.loads(pathlib.Path(path).read_text())['test'] for path in written[1:])
    assert before['num_images'] == 1001 and before['density_bennett'] != after['density_bennett']
