"""The signatures `inpaint` and `interpolate` in a process that has no drl_tf."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.forks import run
from helpers.small_models import COOPERATIVE, PRECONDITIONED, moved_model

from drl_tf.core import noise
from drl_tf.editing.methods import Editing
from drl_tf.serving.signatures import Export

ANSWER = """
import sys
import numpy as np, tensorflow as tf
assert not any(name.startswith('drl_tf') for name in sys.modules)
x = np.load(sys.argv[2])
signatures = tf.saved_model.load(sys.argv[1]).signatures

def ask(name, **inputs):
    return signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})

seed, missing = np.int32([0, 3]), x['missing']
out = {
    'inpaint': ask('inpaint', images=x['images'], missing=missing, seed=seed)['images'],
    'interpolate': ask('interpolate', seed=seed, between=np.int32([4, 9]), position=x['position'])['images'],
    'sample': ask('sample', seed=seed, num_samples=np.int32(10))['images'],
}
files = [tf.io.encode_png(image).numpy() for image in x['levels']]
found = ask('inpaint_bytes', images_bytes=files, missing=missing, seed=seed)['images_bytes']
out['bytes'] = np.stack([tf.io.decode_png(file) for file in found.numpy()])
for inputs in (dict(images=x['images'] * 9, missing=missing), dict(images=x['images'], missing=missing[:1])):
    try:
        ask('inpaint', seed=seed, **inputs)
    except tf.errors.InvalidArgumentError as error:
        assert 'images' in str(error)
    else:
        raise AssertionError('a wrong request was answered')
np.savez(sys.argv[3], **out)
"""


@pytest.mark.slow
@pytest.mark.parametrize('options', [PRECONDITIONED, COOPERATIVE], ids=['posterior', 'replace'])
def test_a_clean_process_inpaints_and_interpolates(options, tmp_path):
    model = moved_model(options.replace(num_levels=2))
    module = Export(model, max_samples=10)
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures=module.signatures())
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, [3, 8, 8, 1], np.uint8)
    missing = np.zeros([3, 8, 8, 1], bool)
    missing[:, 2:6] = True
    images = (levels / np.float32(127.5) - 1).astype(np.float32)
    position = np.float32([0, 0.5, 1])
    np.savez(tmp_path / 'in.npz', images=images, missing=missing, levels=levels, position=position)
    done = run('-I', '-c', ANSWER, tmp_path / 'model', tmp_path / 'in.npz', tmp_path / 'out.npz')
    assert done.returncode == 0, done.stderr
    out = np.load(tmp_path / 'out.npz')
    assert noise.root(0, noise.SAMPLING) == [0, 3]
    np.testing.assert_array_equal(out['inpaint'][~missing], images[~missing])
    np.testing.assert_array_equal(out['bytes'][~missing], levels[~missing])
    np.testing.assert_allclose(out['inpaint'], Editing(model).inpaint(images, missing), atol=2e-3)
    ends = out['sample'][[4, 9]].astype(int)
    assert np.abs(out['interpolate'][[0, 2]].astype(int) - ends).max() <= 1
