"""Logs of a run: sound lines are read, damaged ones are dropped."""

import json

import pytest

from drl_tf.runs import step_log

SOUND = {'step': 8, 'loss': [0.5, None], 'time': 1.5}
DAMAGED = [
    '',
    '\n',
    '{"step": 8, "lo\n',
    '[8]\n',
    '8\n',
    '{"loss": 1}\n',
    '{"step": "8"}\n',
    '[' * 100_000 + '\n',
]


def test_a_sound_line_is_read():
    assert step_log.parsed(json.dumps(SOUND) + '\n') == SOUND


@pytest.mark.parametrize('text', DAMAGED)
def test_a_damaged_line_is_empty(text):
    assert step_log.parsed(text) == {}


def test_damaged_and_later_lines_are_dropped(tmp_path, caplog):
    """An interrupted run may have left an unfinished last line; that is not worth a warning."""
    path = tmp_path / 'metrics.jsonl'
    first, later = ('{"step": 8}\n', '{"step": 9}\n')
    path.write_text(''.join([first, *DAMAGED, later, '{"step": 8']))
    step_log.drop_after(str(path), 8)
    assert path.read_text() == first
    assert caplog.text.count('dropping a damaged line') == len(DAMAGED) - 1  # Without the empty text.
    assert step_log.last_step(str(path)) == 8
