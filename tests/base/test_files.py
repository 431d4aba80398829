"""A file is whole or not there."""

import pytest

from drl_tf.base.files import written_aside


def test_a_failure_leaves_the_former_file(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with written_aside(path) as file:
        file.write('whole\n')
    with pytest.raises(OSError, match='No space'), written_aside(path) as file:
        file.write('half')
        raise OSError(28, 'No space left on device')
    assert path.read_text() == 'whole\n'
    assert [entry.name for entry in path.parent.iterdir()] == ['file.txt']
