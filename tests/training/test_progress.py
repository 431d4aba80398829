"""The progress bar, by a clock that the test sets."""

from drl_tf.config.config import Config
from drl_tf.training.progress import ProgressBar, Stopwatch
from drl_tf.training.stopping import TimeLimit


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def shown(capsys, seconds, max_minutes=0.0, between=0.0):
    """What the bar shows before the first step, and at its end after one that takes 100 s and others."""
    clock, logs, stopwatch = Clock(), {'loss': 0.5}, Stopwatch()
    config = Config().replace(train_steps=400, batch_size=8, max_minutes=max_minutes)
    limit = TimeLimit(max_minutes * 60, clock)
    with ProgressBar(config, 0, 1, limit, stopwatch, clock) as bar:
        bar.on_train_begin()
        first = capsys.readouterr().err
        clock.now += 100
        for batch in range(41):
            limit.is_up()
            bar.on_train_batch_end(batch, logs)
            clock.now += seconds + between
            stopwatch.seconds += seconds
    return first, capsys.readouterr().err.split('\r')[-1]


def test_it_says_compiling_until_the_first_step_is_done(capsys):
    first, last = shown(capsys, 1)
    assert 'compiling' in first and 'compiling' not in last and 'step 41' in last


def test_rate_and_time_left_are_of_the_steps_since(capsys):
    """Step 41 of 400, one a second, after a first one of 100 s: 359 s are left."""
    _, last = shown(capsys, 1)
    assert '10%|' in last and '8 images/s, 02:20 done, 05:59 left, loss 0.5000' in last


def test_slow_steps_have_the_same_unit(capsys):
    assert '0.8 images/s, 08:20 done' in shown(capsys, 10)[1]


def test_grids_count_for_the_time_left_alone(capsys):
    """Step 41 of 400, one a second, and as long between any two: 359 times two seconds are left."""
    assert '8 images/s, 03:00 done, 11:58 left' in shown(capsys, 1, between=1)[1]


def test_a_time_limit_ends_it_before_the_last_step(capsys):
    """3 minutes, 40 s of which are over: step 181 is the last."""
    _, last = shown(capsys, 1, max_minutes=3)
    assert '23%|' in last and '8 images/s, 02:20 done, 02:20 left' in last
