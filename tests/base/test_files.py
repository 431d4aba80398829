"""A file is whole or not there."""

import pytest

from drl_tf.base.files import held, read_json, write_json, written_aside


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
    """A start that fails removes its new directory, but keeps one that was there and all that was written."""
    (tmp_path / 'empty').mkdir()
    for name, kept in (('new', None), ('empty', []), ('begun', ['.lock', 'a'])):
        path = tmp_path / name
        with pytest.raises(ValueError, match='wrong'), held(str(path)):
            if name == 'begun':
                (path / 'a').write_text('')
            raise ValueError('wrong')
        assert (sorted(entry.name for entry in path.iterdir()) if path.exists() else None) == kept


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'{"a": 1', 'Expecting'),
        (b'', 'Expecting value'),
        (b'\xff', 'invalid start byte'),
        (b'[1]', 'a list, not a dict'),
        (b'[' * 100_000, 'nests too deeply'),
    ],
)
def test_damaged_json_is_one_kind_of_error(tmp_path, content, reason):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_json(path)


def test_json_is_read_as_it_was_written(tmp_path):
    for value in ({'a': [1, None]}, [1, 'ü']):
        write_json(tmp_path / 'a.json', value)
        assert read_json(tmp_path / 'a.json', type(value)) == value
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / 'absent.json')
