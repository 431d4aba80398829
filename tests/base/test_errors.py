import pytest
import tensorflow as tf

from drl_tf.base import errors


def test_the_line_of_an_error_of_tensorflow_is_without_nodes_of_its_graphs():
    with pytest.raises(tf.errors.InvalidArgumentError) as eager:
        tf.io.decode_image(b'no picture')
    with pytest.raises(tf.errors.InvalidArgumentError) as graph:
        tf.function(lambda content: tf.io.decode_image(content), autograph=False)(tf.constant(b'no picture'))
    with pytest.raises(tf.errors.OpError) as pipeline:
        list(tf.data.Dataset.from_tensors(b'no picture').map(tf.io.decode_image))
    for error in (eager, graph, pipeline):
        assert '{{' in str(error.value)
        line = errors.one_line(error.value)
        assert line.startswith('InvalidArgumentError: ') and 'Unknown image file format.' in line
        assert not any(sign in line for sign in ('{{', '}}', '[[', '[Op:', '\n'))


def test_one_line_has_the_kind_and_at_most_300_characters():
    assert errors.one_line(ValueError('two\nlines {1}')) == 'ValueError: two lines {1}'
    assert len(errors.one_line(ValueError('x' * 999))) == 300
