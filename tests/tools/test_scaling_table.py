"""The plan's times against closed forms, and its tables."""

import math

import pytest

from drl_tf.tools import scaling_table

FAST = scaling_table.Accelerator('fast', flops=1e12, memory=1e9, link=1e9, group=8, far_link=1e8)
STEP = {'batch': 16, 'flops': 4e12, 'weights': 3e6, 'optimizer': 2e6, 'activations': 5e6, 'gradients': 1e6}


def test_arithmetic_is_shared_and_gradients_go_round_rings():
    assert scaling_table.seconds(FAST, 4e12, 1e6, 1) == pytest.approx((4 / 0.4, 0))
    assert scaling_table.seconds(FAST, 4e12, 1e6, 4) == pytest.approx((4 / 0.4 / 4, 2 * 3 / 4 * 1e6 / 1e9))
    near, far = 2 * 7 / 8 * 1e6 / 1e9, 2 * 2 / 3 * 1e6 / 8 / 1e8
    assert scaling_table.seconds(FAST, 4e12, 1e6, 24) == pytest.approx((4 / 0.4 / 24, near + far))


def test_communication_takes_over_where_the_two_are_equal():
    """Within a group F / (n s p) = 2 (n - 1) / n G / b, at n = 1 + F b / (2 G s p)."""
    assert scaling_table.takes_over(FAST, 4e9, 1e6) == 1 + math.ceil(0.01 * 1e9 / (2 * 1e6))
    count = scaling_table.takes_over(FAST, 4e12, 1e6)
    (before, less), (after, more) = (
        scaling_table.seconds(FAST, 4e12, 1e6, number) for number in (count - 1, count)
    )
    assert count > 8 and less < before and more >= after


def test_tables():
    assert (
        scaling_table.costs({'a': STEP}).splitlines()[-1]
        == '| `a` | 16 | 0.25 | 3.0 MB | 2.0 MB | 5.0 MB | 1.0 MB |'
    )
    row = [cell.strip() for cell in scaling_table.times(FAST, {'a': STEP}).splitlines()[-1].split('|')[1:-1]]
    assert row[:5] == ['`a`', '10 s', '1.25 s (0%)', '629 ms (1%)*', '629 ms (1%)*']
