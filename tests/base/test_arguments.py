"""Messages about options of the command line become messages about arguments."""

import pytest

from drl_tf.base import arguments
from drl_tf.base.errors import UserError


def test_options_become_arguments():
    """Whether they have dashes or not; paths stay."""
    message = '--workdir=runs/precision=16/a has no --seed=3, and precision=x'
    with (
        pytest.raises(UserError, match=r'^preset=runs/precision=16/a has no seed=3, and dtype=x$'),
        arguments.named(workdir='preset', precision='dtype'),
    ):
        raise UserError(message)
