"""Functions are timed in turn, and their times summarised."""

import numpy as np

from drl_tf.tools.bench.timing import Spread, in_turn, spread


def test_functions_take_turns_after_a_call_of_each():
    now = [0.0]
    calls = []

    def taking(name, seconds):
        def run():
            calls.append(name)
            now[0] += seconds + 0.1 * len(calls)

        return run

    seconds = in_turn({'a': taking('a', 1), 'b': taking('b', 2)}, rounds=3, clock=lambda: now[0])
    assert ''.join(calls) == 'ab' + 'ab' + 'ba' + 'ab'
    np.testing.assert_allclose(seconds['a'], [1.3, 1.6, 1.7])
    np.testing.assert_allclose(seconds['b'], [2.4, 2.5, 2.8])


def test_spread():
    assert spread(np.array([4.0, 1.0, 2.0, 3.0, 100.0])) == Spread(3.0, 2.0, 4.0, 5)
