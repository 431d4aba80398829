"""Which classes the images of a set have."""

import numpy as np
import pytest
from helpers.tiny import sampled

from drl_tf.runs.request import SampleRequest


def drawn(capsys, workdir, *arguments):
    return sampled(capsys, workdir, '--num_samples=20', *arguments, side=8)


def test_classes_take_turns_or_are_one():
    assert SampleRequest(4, first=2).classes(3).tolist() == [2, 0, 1, 2]
    assert SampleRequest(2, labels=(1,)).classes(3).tolist() == [1, 1]
    assert SampleRequest(3, first=1, labels=(2, 0)).classes(3).tolist() == [0, 2, 0]


@pytest.mark.slow
def test_sampling_by_class(class_run, capsys):
    """Image i of class c is the same whether all classes take turns, c is asked for, or it is composed of c
    alone; guidance and a second class change it."""
    options = [], ['--labels=3'], ['--labels=3', '--guidance=3']
    turns, threes, guided_threes = (
        drawn(capsys, class_run, '--mode=sample', *arguments)[0] for arguments in options
    )
    assert np.abs(turns[3::10] - threes[3::10]).max() <= 1
    assert np.abs(turns[4::10] - threes[4::10]).max() > 1
    assert np.abs(threes - guided_threes).max() > 1
    composed, _ = drawn(capsys, class_run, '--mode=compose', '--labels=3')
    assert np.abs(composed - threes).max() <= 1
    other, directory = drawn(capsys, class_run, '--mode=compose', '--labels=3,8')
    assert directory.name.endswith('compose3-8')
    assert np.abs(composed - other).max() > 1
