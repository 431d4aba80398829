"""The weights that a new run may start from."""

import pytest
from helpers.small_models import OPTIONS, PRECONDITIONED

from drl_tf.base.errors import UserError
from drl_tf.training.resume import check_start


@pytest.fixture
def starts(tmp_path):
    """Tells whether a run of one configuration may start from one of another: None, or the reason."""

    def reason(config, other):
        other.save(tmp_path)
        try:
            check_start(config, str(tmp_path))
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


def test_one_given_scale_of_the_data_is_compared_and_the_other_taken(starts):
    other = PRECONDITIONED.replace(data_mean=(0.25,), data_std=0.5)
    fresh = PRECONDITIONED.replace(data_mean=(), data_std=0.0)
    assert starts(fresh.replace(data_std=0.5), other) is None
    assert '--data_mean=0.5 here, 0.25 there' in starts(fresh.replace(data_mean=(0.5,)), other)
