"""Names of sets of samples: short enough for a file system, and another for other settings."""

import dataclasses

from drl_tf.config import config as configuration
from drl_tf.runs.naming import file_stem, set_name, short
from drl_tf.runs.request import SampleRequest


def test_names_of_many_levels_are_short_and_differ(tmp_path):
    config = configuration.Config().replace(
        image_size=16, image_channels=1, num_levels=200, num_classes=500, mcmc_steps=(1,)
    )
    config.save(tmp_path)
    steps = list(range(100, 300))
    configs = [config.replace(mcmc_steps=tuple(each)) for each in (steps, [*steps[:-1], 7])]
    request = SampleRequest(16, labels=tuple(range(300)), step=8)
    names = {
        name(each, tmp_path, labelled)
        for name in (file_stem, set_name)
        for each in configs
        for labelled in (request, dataclasses.replace(request, labels=(1, 2)))
    }
    assert len(names) == 6 and all(len(name.encode()) < 200 for name in names)
    assert file_stem(config, tmp_path, request) == '00000008-ema-16-seed0'
    of_models = {set_name(config, tmp_path, SampleRequest(4, step=8), model) for model in ('', 'a', 'b')}
    assert len(of_models) == 3 and '00000008-ema-4-seed0' in of_models


def test_places_of_the_data_are_not_in_names(tmp_path):
    config = configuration.Config().replace(dataset='folder', data_dir='a', image_size=16, image_channels=1)
    config.save(tmp_path)
    moved = config.replace(data_dir='/b', manual_dir='/c', labels_file='/d/labels.csv')
    assert file_stem(moved, tmp_path, SampleRequest(4, step=8)) == '00000008-ema-4-seed0'


def test_a_long_name_is_cut_by_its_bytes():
    assert short('ä' * 75) == 'ä' * 75
    cut = {short('ä' * 76), short('ä' * 75 + 'b'), short('aä' * 75)}
    assert len(cut) == 3 and all(len(name.encode()) <= 157 for name in cut)
