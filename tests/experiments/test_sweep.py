"""Which steps are swept."""

import pytest

from drl_tf.experiments import sweep


@pytest.mark.parametrize(
    ('levels', 'steps'),
    [(6, [3, 5, 8, 15, 30]), (2, [9, 15, 24, 45, 90]), (12, [2, 3, 4, 8, 15]), (100, [1, 2, 3, 4, 5])],
)
def test_no_two_rows_have_the_same_number_of_steps(levels, steps):
    assert sweep.steps_of_level(levels) == steps
