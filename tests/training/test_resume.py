"""The weights that a new run may start from."""

import json
import types

import pytest
from helpers.small_models import OPTIONS, PRECONDITIONED

from drl_tf.base.errors import UserError
from drl_tf.runs import run_directory
from drl_tf.training import other_run
from drl_tf.training.resume import starting_step


@pytest.fixture
def starts(tmp_path):
    """Tells whether a run of one configuration may start from one of another: None, or the reason."""

    def reason(config, other):
        other.save(tmp_path)
        try:
            other_run.check(config, str(tmp_path))
        except UserError as error:
            return str(error)
        return None

    return reason


@pytest.mark.parametrize(
    ('changed', 'named'),
    [
        (dict(energy_scale='noise'), '--energy_scale=noise here, step there'),
        (dict(b2=0.01), '--b2=0.01 here, 0.0002 there'),
        (dict(num_levels=3), '--num_levels=3 here, 6 there'),
    ],
)
def test_what_scales_the_energy_of_the_paper_must_be_the_same(starts, changed, named):
    assert starts(OPTIONS, OPTIONS) is None
    assert named in starts(OPTIONS.replace(**changed), OPTIONS)


def test_an_initializer_that_is_not_there_is_not_compared(starts):
    wider = PRECONDITIONED.replace(initializer_channels=32)
    assert starts(PRECONDITIONED, wider) is None
    with_it = OPTIONS.replace(initializer=True)
    assert 'initializer_channels' in starts(with_it, with_it.replace(initializer_channels=32))


def test_other_channels_are_named_rather_than_their_means(starts):
    other = PRECONDITIONED.replace(image_channels=3, data_mean=(0.1, 0.2, 0.3), data_std=0.5)
    fresh = PRECONDITIONED.replace(data_mean=(), data_std=0.0)
    assert '--image_channels=1 here, 3 there' in starts(fresh, other)


def test_a_run_in_bfloat16_resumes_where_training_takes_float32(tmp_path):
    """Its chains are adjusted, and an earlier version drew its grids in bfloat16."""
    config = PRECONDITIONED.replace(mcmc_steps=(2,), precision='bfloat16')
    config.save(tmp_path)
    (tmp_path / 'checkpoints' / '00000002').mkdir(parents=True)
    run_directory.Run(str(tmp_path)).compare(config.replace(precision='float32'))
    with pytest.raises(UserError, match='--channels=16 here, 8 there'):
        run_directory.Run(str(tmp_path)).compare(config.replace(channels=16))


def test_one_given_scale_of_the_data_is_compared_and_the_other_taken(starts):
    other = PRECONDITIONED.replace(data_mean=(0.25,), data_std=0.5)
    fresh = PRECONDITIONED.replace(data_mean=(), data_std=0.0)
    assert starts(fresh.replace(data_std=0.5), other) is None
    assert '--data_mean=0.5 here, 0.25 there' in starts(fresh.replace(data_mean=(0.5,)), other)


@pytest.mark.parametrize(
    ('record', 'weights'),
    [
        (None, 'ema'),
        ({'init_from': 'other', 'weights': 'ema'}, 'ema'),
        ({'init_from': 'slopes', 'weights': 'ema'}, 'raw'),
    ],
)
def test_a_run_does_not_resume_as_one_with_another_start(tmp_path, record, weights):
    (tmp_path / 'checkpoints' / '00000002').mkdir(parents=True)
    if record:
        (tmp_path / 'start.json').write_text(json.dumps(record))
    model = types.SimpleNamespace(config=OPTIONS)
    workdir = str(tmp_path)
    wanted = f'--workdir={workdir} holds a run that did not start from the {weights} weights of runs/slopes'
    with pytest.raises(UserError, match=wanted):
        starting_step(model, run_directory.Run(workdir), workdir, 'runs/slopes', weights)
