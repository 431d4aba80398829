"""Tests for where the first weights of a model come from."""

import json

import pytest

from drl_tf.runs import beginnings


@pytest.mark.parametrize(('file', 'record', 'expected'), [
    (None, {}, False),
    ('start.json', {'init_from': 'slopes', 'imported': False}, False),
    ('start.json', {'init_from': 'slopes', 'imported': True}, True),
    ('official.json', {'checkpoint': '/elsewhere/ckpt-1'}, True),
])  # fmt: skip
def test_whether_a_network_was_imported(tmp_path, file, record, expected):
    """A run that began with a model of an imported network counts as imported too."""
    if file:
        (tmp_path / file).write_text(json.dumps(record))
    assert beginnings.imported(beginnings.beginning(str(tmp_path))) == expected


def test_no_path_of_this_machine_is_kept(tmp_path):
    (tmp_path / 'official.json').write_text(json.dumps({'checkpoint': '/elsewhere/ckpt-1', 'step': 3}))
    assert beginnings.beginning(str(tmp_path))['origin'] == {'checkpoint': 'ckpt-1', 'step': 3}
