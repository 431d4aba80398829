"""`--mode=likelihood --method=direct`: what it refuses."""

import pytest
from helpers import golden

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
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
