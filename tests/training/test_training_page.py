"""The page that training writes: how often, and what its errors do."""

import signal

import pytest

from drl_tf.base.errors import DivergenceError, Interrupted, UserError
from drl_tf.distributed import workers
from drl_tf.report import pages
from drl_tf.training.page import Page


class Clock:
    """Seconds that pass only where a test says so."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock(monkeypatch):
    """A clock; each page takes two of its seconds."""
    clock = Clock()
    clock.written = []

    def write(workdir):
        clock.written.append(clock.seconds)
        clock.seconds += 2

    monkeypatch.setattr(pages, 'write', write)
    return clock


def test_pages_take_at_most_a_hundredth_of_the_time(clock):
    page = Page('w', clock)
    for step in range(1000):
        page(step)
        clock.seconds += 1
    assert clock.written == [0, 202, 404, 606, 808]


@pytest.mark.parametrize(
    ('error', 'expected'), [(None, 1), (DivergenceError('diverged', 3), 1), (UserError('wrong'), 0)]
)
def test_the_last_page_is_written_when_training_ends_or_diverges(clock, error, expected):
    page = Page('w', clock)
    page(1)
    clock.written.clear()
    try:
        with page.at_end():
            if error:
                raise error
    except (DivergenceError, UserError) as raised:
        assert raised is error
    assert len(clock.written) == expected


@pytest.mark.parametrize(
    'error', [Interrupted('SIGTERM came', signal.SIGTERM), DivergenceError('diverged', 3)]
)
def test_no_worker_ends_before_all_know_that_the_page_is_written(monkeypatch, error):
    """A chief that ended at once would break off the message that the others still receive."""
    calls = []
    monkeypatch.setattr(pages, 'write', lambda workdir: calls.append('page'))
    monkeypatch.setattr(workers, 'all_received', lambda: calls.append('wait'))
    with pytest.raises(type(error)), Page('w', Clock()).at_end():
        raise error
    assert calls == ['page', 'wait']


def test_an_error_of_the_page_does_not_end_training(monkeypatch, caplog):
    monkeypatch.setattr(pages, 'write', lambda workdir: {}['missing'])
    Page('w', Clock())(1)
    assert 'the page of the run was not written: KeyError' in caplog.text
