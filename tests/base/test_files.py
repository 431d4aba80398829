"""A file is whole or not there."""

import pytest

from drl_tf.base.files import held, written_aside


def test_a_failure_leaves_the_former_file(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with written_aside(path) as file:
        file.write('whole\n')
    with pytest.raises(OSError, match='No space'), written_aside(path) as file:
        file.write('half')
        raise OSError(28, 'No space left on device')
    assert path.read_text() == 'whole\n'
    assert [entry.name for entry in path.parent.iterdir()] == ['file.txt']


def test_a_start_that_fails_leaves_no_directory(tmp_path):
    """But one that was there, and all that was written, stays."""
    (tmp_path / 'empty').mkdir()
    for name, kept in (('new', None), ('empty', []), ('begun', ['.lock', 'a'])):
        path = tmp_path / name
        with pytest.raises(ValueError, match='wrong'), held(str(path)):
            if name == 'begun':
                (path / 'a').write_text('')
            raise ValueError('wrong')
        assert (sorted(entry.name for entry in path.iterdir()) if path.exists() else None) == kept
