"""The plan's times against closed forms, and its tables."""

import pytest

from drl_tf import plan

FAST = plan.Accelerator('fast', flops=1e12, memory=1e9, link=1e9, group=8, far_link=1e8)
STEP = {'batch': 16, 'flops': 4e12, 'weights': 3e6, 'optimizer': 2e6, 'activations': 5e6, 'gradients': 1e6}


def test_arithmetic_is_shared_and_gradients_go_round_a_ring():
    assert plan.seconds(FAST, 4e12, 1e6, 1) == pytest.approx((4 / 0.4, 0))
    assert plan.seconds(FAST, 4e12, 1e6, 8) == pytest.approx((4 / 0.4 / 8, 2 * 2 * 7 / 8 * 1e6 / 1e9))
    assert plan.seconds(FAST, 4e12, 1e6, 9) == pytest.approx((4 / 0.4 / 9, 2 * 2 * 8 / 9 * 1e6 / 1e8))


def test_communication_takes_over_where_the_two_are_equal():
    """F / (n s p) = 4 (n - 1) / n G / b at n = 1 + F b / (4 G s p), beyond the group by its slower link."""
    assert plan.takes_over(FAST, 4e12, 1e6) == 1 + 10 * 1e8 / (4 * 1e6)
    assert plan.takes_over(FAST, 4e9, 1e6) == 1 + round(0.01 * 1e9 / (4 * 1e6) + 0.5)


def test_tables():
    assert plan.costs({'a': STEP}).splitlines()[-1] == '| `a` | 16 | 0.25 | 3.0 MB | 2.0 MB | 5.0 MB | 2.0 MB |'
    row = [cell.strip() for cell in plan.times(FAST, {'a': STEP}).splitlines()[-1].split('|')[1:-1]]
    assert row == ['`a`', '10 s', '1.25 s (0%)', '664 ms (6%)*', '665 ms (6%)*', '251']
