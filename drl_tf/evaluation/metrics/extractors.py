"""Extractors, the networks whose features the scores compare: the digits classifier, Inception,
EfficientNet-Lite0, or a network of the user."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from matplotlib import cbook
from PIL import Image

from drl_tf.base import pixels
from drl_tf.base.errors import UserError, one_line
from drl_tf.config import combinations
from drl_tf.config.data_options import DIGITS, Data
from drl_tf.config.sampling_options import EXTRACTORS
from drl_tf.data import downloads, tar_archives
from drl_tf.distributed import spread
from drl_tf.evaluation.metrics import digits_classifier, efficientnet_lite, tfgan

Network = Callable[[tf.Tensor], Any]
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]

_SHIPPED: dict[str, Any] = {'digits_classifier': digits_classifier, 'efficientnet_lite0': efficientnet_lite}
_BATCH = 100
INCEPTION_FEATURES = 2048
_INCEPTION_CLASSES = 1008
_INCEPTION_CONVOLUTIONS = 94
_CERTAIN = 0.1  # The least probability of the photograph's class.
_STAND_IN = 'stand_in_for_inception'
_FEATURES = ('pool_3', 'features')
_LOGITS = 'logits'


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network that turns images into features.

    Attributes:
      name: name of the network, which is part of the names of scores.
      weights_hash: the first 12 hexadecimal digits of the SHA-256 of the weights.
      resize: how images are resized for the network, as a text.
      run: function of images, uint8 [n, H, W, C]; it returns their features, float32 [n, d], and the logits
        of a classifier, float32 [n, classes], or None.
      inception: 'standard' for the Inception network that defines FID; 'stand-in' for another network given
        as --inception; '' otherwise.
      datasets: names of the datasets whose classes the network predicts.
    """

    name: str
    weights_hash: str
    resize: str
    run: Run
    inception: str = ''
    datasets: tuple[str, ...] = ()


def load(data: Data, name: str = '', inception: str = '') -> Extractor:
    """Loads an extractor, the network whose features are compared.

    Args:
      data: options of the dataset, with its image size and channels.
      name: 'inception', 'digits_classifier', 'efficientnet_lite0', or the path of a network of your own, a
        SavedModel or a `.keras` file. Such a network takes float32 [n, h, w, 3] in [-1, 1], and returns
        features [n, ...], or a dict with 'features' (or 'pool_3') and optional 'logits'. '': the digits
        classifier for digits, Inception for other datasets.
      inception: directory of Inception as a SavedModel; '': Inception from TF-Hub.

    Raises:
      UserError: the network does not exist, cannot be reached, gives no features, or takes other images.

    Example:
      extractor = load(config.data)
      features, logits = extractor.run(images)  # uint8 [n, H, W, C]
    """
    combinations.check_extractor(data, name, inception)
    name = combinations.extractor_of(data, name, inception)
    if name == 'inception':
        return _inception(inception)
    if name in _SHIPPED:
        network = _SHIPPED[name]
        run = _runner(network.load(), network.preprocess, f'--extractor={name}')
        datasets = DIGITS if name == 'digits_classifier' else ()
        return Extractor(name, network.weights_hash(), network.RESIZE, run, datasets=datasets)
    function, shape = _keras_model(name) if os.path.isfile(name) else _saved_model(name, '--extractor')
    size = _side(shape, name)
    resize = f'bilinear to {size} px, antialiased' if size else 'none'
    label = re.sub(r'\W', '_', os.path.splitext(os.path.basename(os.path.normpath(name)))[0])
    label = f'own_{label}' if label in (*EXTRACTORS, _STAND_IN) else label
    run = _runner(function, functools.partial(_colour, size=size), f'--extractor={name}')
    return Extractor(label, contents_hash(name), resize, run)


def _inception(path: str) -> Extractor:
    """Loads Inception, TF-Hub's tensorflow/tfgan/eval/inception/1, from TF-Hub or from a directory.

    `_inception` checks that the network recognises a photograph. For a directory, it also checks the number
    of convolutions. If a check fails, `_inception` warns, and the results are not called FID.
    """
    evaluation = tfgan.evaluation()
    size = evaluation.INCEPTION_DEFAULT_IMAGE_SIZE
    source = path or from_hub(evaluation.INCEPTION_TFHUB)
    function, shape = _saved_model(source, '--inception')
    if shape[1:3] not in ([None, None], [size, size]):
        raise UserError(
            f'--inception={source} takes {shape}, not images of {size} px: give another directory'
        )
    run = _runner(function, functools.partial(_colour, size=size, antialias=False), f'--inception={source}')
    features, logits = run(np.zeros([1, 32, 32, 3], np.uint8))
    if features.shape[1] != INCEPTION_FEATURES or logits is None or logits.shape[1] != _INCEPTION_CLASSES:
        raise UserError(
            f'--inception={source} must return pool_3 [n, {INCEPTION_FEATURES}] and '
            f'logits [n, {_INCEPTION_CLASSES}]'
        )
    has_layers = not path or _count_convolutions(function, size) == _INCEPTION_CONVOLUTIONS
    standard = has_layers and recognises(run)
    if not standard:
        what = 'has other layers'
        if has_layers:
            what = 'does not recognise a photograph: its weights are not trained'
        message = '%s is not the standard Inception (it %s): no score is called FID, KID or Inception score'
        logging.warning(message, source, what)
    name, kind = ('inception', 'standard') if standard else (_STAND_IN, 'stand-in')
    resize = f'bilinear to {size} px, corners as in TensorFlow 1'
    return Extractor(name, contents_hash(source), resize, run, kind)


def from_hub(handle: str) -> str:
    """Downloads a network of TF-Hub by its URL `handle`, unless it is cached; returns its directory."""
    from tensorflow_hub import resolver

    cache = resolver.tfhub_cache_dir(use_temp=True)
    name = hashlib.sha1(handle.encode()).hexdigest()
    cached = os.path.join(cache, name)
    url = f'{handle}?tf-hub-format=compressed'
    if os.path.isdir(cached) and os.listdir(cached):
        return cached
    try:
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'{name}.', dir=cache) as aside:
            archive = os.path.join(aside, 'inception.tar.gz')
            network = os.path.join(aside, 'network')
            downloads.download(url, archive)
            tar_archives.unpack(archive, network)
            tf.saved_model.load(network)
            os.rename(network, cached)
    except Exception as error:  # Servers, archives and disks fail in errors of many kinds.
        if os.path.isdir(cached) and os.listdir(cached):  # Another process was faster.
            return cached
        reason = f'the download of {url} could not be unpacked and loaded ({one_line(error)})'
        if isinstance(error, UserError):
            reason = str(error)
        raise UserError(
            f'--extractor=inception is not in {cached}, and {reason}: download it by other means, unpack it '
            'in a directory and give --inception=DIR, or give another --extractor'
        ) from error
    return cached


def _saved_model(path: str, flag: str) -> tuple[Network, tf.TensorShape]:
    """Loads a SavedModel; returns a callable of float32 images, and the shape that it declares for images."""
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # The parsers raise errors of many kinds on damaged files.
        raise UserError(
            f'{flag}={path} is not a sound SavedModel ({one_line(error)}): give another directory'
        ) from error
    if callable(loaded):
        (images, *_), _ = loaded.__call__.concrete_functions[0].structured_input_signature
        return loaded, images.shape
    signatures = loaded.signatures
    if 'serving_default' not in signatures and len(signatures) != 1:
        listed = ', '.join(signatures) or 'none'
        raise UserError(
            f'{flag}={path} cannot be called and has no serving_default: its signatures are {listed}'
        )
    signature = signatures.get('serving_default') or next(iter(signatures.values()))
    (argument, images), *_ = signature.structured_input_signature[1].items()

    def serve(images: tf.Tensor, kept: Any = loaded) -> Any:
        del kept  # The default keeps the model alive, which its signature needs.
        return signature(**{argument: images})

    return serve, images.shape


def _keras_model(path: str) -> tuple[Network, tf.TensorShape]:
    """Loads a .keras file, like `_saved_model`; raises UserError if the file would run its own code."""
    try:
        model = keras.saving.load_model(path, compile=False)
        return model, tf.TensorShape(model.input_shape)
    except Exception as error:
        raise UserError(
            f'--extractor={path} is not a sound Keras model ({one_line(error)}): give another file'
        ) from error


def _side(shape: tf.TensorShape, name: str) -> int | None:
    """Returns the height and width that a network declares for its images; None for any size."""
    if shape.rank != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise UserError(
            f'--extractor={name} takes {shape}, not square colour images [n, h, h, 3]: give another network'
        )
    return shape[1]


def _colour(images: tf.Tensor, size: int | None, antialias: bool = True) -> tf.Tensor:
    """Maps uint8 [n, H, W, 1 or 3] to float32 [n, size, size, 3]; if not `antialias`, as in TensorFlow 1."""
    images = tf.cast(images, tf.float32)
    images = tf.image.grayscale_to_rgb(images) if images.shape[-1] == 1 else images
    if size and antialias:
        images = tf.image.resize(images, [size, size], 'bilinear', antialias=True)
    elif size:
        images = tf.compat.v1.image.resize_bilinear(images, [size, size])
    return pixels.from_levels(images)


def _runner(network: Network, preprocess: Callable[[tf.Tensor], tf.Tensor], flag: str) -> Run:
    """Returns a callable for `Extractor.run`, which runs one batch at a time on each replica of a process."""
    function = tf.function(
        lambda images: _features_and_logits(network(images), flag), autograph=False, reduce_retracing=True
    )
    run_classifier = tfgan.evaluation().run_classifier_fn
    batch = _BATCH * spread.replicas()
    of_batch = spread.over_replicas(lambda images: run_classifier(preprocess(images), function))

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        starts = range(0, len(images), batch)
        features, logits = zip(*(of_batch(images[i : i + batch]) for i in starts), strict=True)
        return np.concatenate(features), None if logits[0] is None else np.concatenate(logits)

    return run


def _features_and_logits(outputs: Any, flag: str) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns features [n, d], and logits [n, classes] or None, from the outputs of a network."""
    if not isinstance(outputs, dict) or len(outputs) == 1:
        outputs = {_FEATURES[0]: tf.nest.flatten(outputs)[0]}
    features = next((outputs[name] for name in _FEATURES if name in outputs), None)
    if features is None:
        raise UserError(f'{flag} returns {", ".join(outputs)}: {" or ".join(_FEATURES)} is not among them')
    logits = outputs.get(_LOGITS)
    return _flat(features), None if logits is None else _flat(logits)


def _flat(x: tf.Tensor) -> tf.Tensor:
    """Reshapes and casts a tensor [n, ...] to float32 [n, d]."""
    return tf.reshape(tf.cast(x, tf.float32), [tf.shape(x)[0], -1])


def recognises(run: Run) -> bool:
    """Returns whether a network has trained weights, not random ones, by how it classifies a photograph.

    A trained network gives a portrait and its mirror image the same class with a high probability, and noise
    another class.

    Args:
      run: the network, a function that maps images, uint8 [n, H, W, C], to the pair (features, logits).
    """
    portrait_file: Any = cbook.get_sample_data('grace_hopper.jpg')
    with Image.open(portrait_file) as picture:
        photograph = np.asarray(picture.convert('RGB').resize((299, 299)))
    noise = np.random.default_rng(0).integers(0, 256, photograph.shape, np.uint8)
    _, logits = run(np.stack([photograph, photograph[:, ::-1], noise]))
    assert logits is not None
    portrait, mirrored, other = logits.argmax(axis=1)
    chances = tf.nn.softmax(logits).numpy().max(axis=1)
    return bool(portrait == mirrored != other and min(chances[:2]) > _CERTAIN)


def _count_convolutions(function: Network, size: int) -> int:
    """Returns the number of convolutions in the largest function of a network."""
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec([None, size, size, 3]))
    graph = concrete.graph.as_graph_def()
    bodies = [graph.node, *(body.node_def for body in graph.library.function)]
    return max(sum(node.op == 'Conv2D' for node in body) for body in bodies)


def contents_hash(path: str) -> str:
    """Returns the first 12 hexadecimal digits of the SHA-256 of a file, or of all files in a directory."""
    paths = [path]
    if os.path.isdir(path):
        paths = sorted(os.path.join(parent, name) for parent, _, names in os.walk(path) for name in names)
    digest = hashlib.sha256()
    for name in paths:
        with open(name, 'rb') as file:
            digest.update(hashlib.file_digest(file, 'sha256').digest())
    return digest.hexdigest()[:12]
