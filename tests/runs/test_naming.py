"""Names of sets of samples: short enough for a file system, and another for other settings."""

import dataclasses

from drl_tf.config import config as configuration
from drl_tf.runs.naming import file_stem, set_name
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
