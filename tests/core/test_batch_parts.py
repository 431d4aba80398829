"""Parts of a batch side by side: in a process of its own, whose operations have one thread each."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.forks import run

from drl_tf.core import batch_parts

IN_PARTS = """
import sys
import numpy as np
import tensorflow as tf
if sys.argv[1] == 'parts':
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)
sys.path.insert(0, 'tests')
from helpers.small_models import PRECONDITIONED
from drl_tf.core import batch_parts, guidance
from drl_tf.core.sampling import Draw
from drl_tf.training.optimizers import compiled_model

assert batch_parts.num_parts(6) == (2 if sys.argv[1] == 'parts' else 1)
options = PRECONDITIONED.replace(num_classes=3, batch_size=12, dropout=0.1, label_dropout=0.3)
model = compiled_model(options.replace(microbatches=3))
for index, weight in enumerate(model.network.weights):
    weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, index]))
images = tf.random.stateless_uniform([12, 8, 8, 1], [1, 2], -1, 1)
step = tf.function(model.train_step, autograph=False)
logs = [step((images, tf.range(12) % 4)) for _ in range(2)][-1]
terms = guidance.guided(tf.range(6) % 4, tf.constant(0.5))
x = model.sample(6, [0, 1], Draw(tf.constant(5), 'raw', terms))[-1]
weights = {str(index): weight.numpy() for index, weight in enumerate(model.weights)}
np.savez(sys.argv[2], x=x, **logs, **weights)
"""


@pytest.mark.slow
def test_parts_side_by_side_give_the_numbers_of_the_whole_batch(tmp_path):
    """Logs and weights after two steps of three microbatches each, and guided samples."""
    for name in ('whole', 'parts'):
        done = run('-c', IN_PARTS, name, tmp_path / f'{name}.npz')
        assert done.returncode == 0, done.stderr
    whole, parts = (np.load(tmp_path / f'{name}.npz') for name in ('whole', 'parts'))
    assert set(whole.files) == set(parts.files) > {'x', 'loss', 'gradient_norm'}
    for name in whole.files:
        np.testing.assert_allclose(parts[name], whole[name], rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.fixture
def threads(monkeypatch):
    def set_threads(of_operation, at_once):
        threading = tf.config.threading
        monkeypatch.setattr(threading, 'get_intra_op_parallelism_threads', lambda: of_operation)
        monkeypatch.setattr(threading, 'get_inter_op_parallelism_threads', lambda: at_once)

    return set_threads


def test_a_batch_is_split_only_if_operations_have_one_thread(threads):
    for of_operation, at_once, size, count in (
        (0, 2, 6, 1),
        (2, 2, 6, 1),
        (1, 0, 6, 1),
        (1, 2, 6, 2),
        (1, 4, 6, 4),
        (1, 4, 3, 3),
        (1, 2, 7, 2),
        (1, 2, None, 1),
    ):
        threads(of_operation, at_once)
        assert batch_parts.num_parts(size) == count


def test_each_part_has_its_rows(threads):
    """Scalars, numbers and None go to each part; results are joined in order, also those of unequal parts."""
    threads(1, 3)
    batch = (tf.range(7), [(tf.range(7) + 10, 0.5), (None, tf.constant(2.0))])

    def of_part(first, part):
        rows, [(labels, number), (nothing, scalar)] = part
        assert (number, nothing, scalar.shape.rank) == (0.5, None, 0)
        return {'rows': rows, 'labels': labels, 'first': tf.fill(rows.shape, first)}

    joined = batch_parts.concatenated(of_part, batch)
    assert joined['rows'].numpy().tolist() == list(range(7))
    assert joined['labels'].numpy().tolist() == list(range(10, 17))
    assert joined['first'].numpy().tolist() == [0, 0, 2, 2, 4, 4, 4]
