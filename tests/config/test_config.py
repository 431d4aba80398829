"""The configuration in Python."""

import pytest

from drl_tf.base.errors import UserError
from drl_tf.config.config import Config


def test_a_published_configuration_names_no_file_of_this_machine():
    local = Config().replace(data_dir='/a', manual_dir='/b', labels_file='/c.csv', num_real=10)
    assert local.portable() == Config()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'batch_size': 5, 'microbatches': 4}, 'batch_size=5 must be a multiple of microbatches=4'),
        ({'channels': 0}, 'channels=0 must be at least 4'),
    ],
)
def test_errors_name_options_as_python_writes_them(options, message):
    with pytest.raises(UserError, match=f'^{message}'):
        Config().replace(**options)
    with pytest.raises(UserError, match=f'^--{message.replace("microbatches", "--microbatches")}'):
        Config().with_flags(**options)
