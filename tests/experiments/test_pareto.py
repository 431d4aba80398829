"""The Pareto front, the sampler that is stored, and the order of the search."""

import random

from drl_tf.experiments import pareto


def row(gradients, distance, agreement=None, **options):
    known = {} if agreement is None else {'agreement': agreement}
    return {'options': options, 'gradients': gradients, 'distance': distance, **known}


def test_the_front_has_no_row_that_another_beats_in_both():
    generator = random.Random(0)
    rows = [row(generator.randint(1, 50), generator.random()) for _ in range(200)]
    rows.append(row(1, None))
    front = pareto.front(rows)

    def is_beaten(one):
        return any(
            other['gradients'] <= one['gradients']
            and other['distance'] <= one['distance']
            and (other['gradients'], other['distance']) != (one['gradients'], one['distance'])
            for other in rows[:-1]
        )

    assert [each for each in rows[:-1] if not is_beaten(each)] == sorted(front, key=rows.index)
    assert 1 < len(front) < 20


def test_the_cheapest_of_those_as_good_as_the_own_sampler_is_stored():
    rows = [
        row(180, 1.0, 0.95),
        row(30, 0.9, 0.945),
        row(20, 0.99, 0.93),  # Too little agreement.
        row(10, 1.01, 0.99),  # Too far.
        row(5, None),
    ]
    assert pareto.best(rows) is rows[1]
    assert pareto.best(rows[:1]) is rows[0]


def test_with_a_budget_the_smallest_distance_within_it_is_stored():
    rows = [row(180, 1.0), row(30, 0.9), row(20, 0.99), row(10, 1.5), row(5, None)]
    assert pareto.best(rows, most_gradients=20) is rows[2]
    assert pareto.best(rows, most_gradients=30) is rows[1]
    assert pareto.best(rows, most_gradients=4) is rows[0]


def search(cost, start, steps):
    """Searches whole numbers n, whose neighbours are n - 1 and n + 1, for so many steps."""

    def neighbours(found):
        n = found['options']['n']
        return [{'n': n - 1}, {'n': n + 1}]

    rows = []
    for _ in range(steps):
        options = pareto.following(rows, [{'n': n} for n in start], neighbours, str)
        if options is None:
            break
        rows.append(row(*cost(options['n']), **options))
    return rows


def test_the_search_measures_its_start_and_then_neighbours_of_the_front():
    """From the front's middle, n = 2, which would be stored, to both of its ends."""
    rows = search(lambda n: (n, abs(n - 6)), start=[2, 4], steps=9)
    assert [each['options']['n'] for each in rows] == [2, 4, 1, 3, 0, -1, 5, -2, 6]


def test_the_search_goes_on_from_what_is_measured():
    """Every row follows from the rows before it alone, so that nothing is measured twice after a stop."""
    rows = search(lambda n: (n, abs(n - 6)), start=[2, 4], steps=8)
    assert len({each['options']['n'] for each in rows}) == 8


def test_the_search_ends_at_a_front_without_unmeasured_neighbours():
    """Distances fall to n = 3 and rise beyond, and below 1 all is worse and dearer."""
    rows = search(lambda n: (abs(n), abs(n - 3) + (10 if n < 1 else 0)), start=[2], steps=50)
    assert sorted(each['options']['n'] for each in rows) == [-1, 0, 1, 2, 3, 4]
