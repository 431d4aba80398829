"""What counts as a run in a directory."""

import pytest
from helpers.tiny import TINY, call

from drl_tf.base.errors import UserError
from drl_tf.runs import workdirs


@pytest.mark.parametrize('name', ['config.json', 'checkpoints/00000004/state.index'])
def test_a_configuration_or_a_checkpoint_is_a_run(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('')
    assert workdirs.holds_run(tmp_path)
    with pytest.raises(UserError, match=r'holds a run: give another for --official_checkpoint=x'):
        workdirs.check_no_run(tmp_path, '--official_checkpoint=x')


def test_an_empty_folder_of_checkpoints_is_no_run(capsys, tmp_path):
    """A first checkpoint that could not be written leaves it; the next command begins there."""
    (tmp_path / 'checkpoints').mkdir()
    assert not workdirs.holds_run(tmp_path)
    workdirs.check_no_run(tmp_path, '--official_checkpoint=x')
    options = [word for word in TINY if not word.startswith('--dataset')]
    code, out, err = call(capsys, *options, f'--workdir={tmp_path}', '--dry_run')
    assert code == 0 and 'digits' in out, err
