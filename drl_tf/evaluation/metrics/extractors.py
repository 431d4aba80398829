"""Networks whose features images are compared in: the digits classifier, Inception, EfficientNet-Lite0, or
the user's own."""

import dataclasses
import functools
import hashlib
import os
import re
import tarfile
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from matplotlib import cbook
from PIL import Image

from drl_tf.base import pixels
from drl_tf.base.errors import UserError, one_line
from drl_tf.config import combinations
from drl_tf.config.options import DIGITS, EXTRACTORS
from drl_tf.data import downloads
from drl_tf.distributed import spread
from drl_tf.evaluation.metrics import digits_classifier, efficientnet_lite, tfgan

_SHIPPED = {'digits_classifier': digits_classifier, 'efficientnet_lite0': efficientnet_lite}
_BATCH = 100
INCEPTION_FEATURES, _INCEPTION_CLASSES, _INCEPTION_CONVOLUTIONS = 2048, 1008, 94
_CERTAIN = 0.1
_STAND_IN = 'stand_in_for_inception'
_FEATURES, _LOGITS = ('pool_3', 'features'), 'logits'


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network that turns images into features.

    Attributes:
      name: for the names of scores.
      weights_hash: the first 12 hexadecimal digits of the SHA-256 of its weights; scores under different
        hashes do not compare.
      resize: how images get its size, in words.
      run: callable, uint8 [n, H, W, C] -> features float32 [n, d], and logits float32 [n, classes] or None.
      inception: 'standard', in whose features alone distances are called FID and KID and whose logits alone
        give the Inception score; 'stand-in' for a network given in its place; '' for others.
      datasets: those whose classes the logits are.
    """

    name: str
    weights_hash: str
    resize: str
    run: Callable
    inception: str = ''
    datasets: tuple[str, ...] = ()


def load(data, name='', inception=''):
    """The extractor of that name.

    Args:
      data: a resolved `config.Data`.
      name: one of `EXTRACTORS`; the directory of a SavedModel or a `.keras` file, whose model takes float32
        [n, h, w, 3] in [-1, 1] and returns features [n, ...], or a dict of `features` (or `pool_3`) and,
        maybe, `logits`; '' takes the digits classifier for digits and Inception for all others.
      inception: directory of Inception as a SavedModel; '' takes it from TF-Hub.

    Raises:
      UserError: there is no such network, it cannot be reached or does not give features, or it takes other
        images.
    """
    combinations.check_extractor(data, name, inception)
    name = name or ('inception' if inception or data.dataset not in DIGITS else 'digits_classifier')
    if name == 'inception':
        return _inception(inception)
    if name in _SHIPPED:
        network = _SHIPPED[name]
        run = _runner(network.load(), network.preprocess, f'--extractor={name}')
        return Extractor(
            name,
            network.weights_hash(),
            network.RESIZE,
            run,
            datasets=DIGITS if name == 'digits_classifier' else (),
        )
    function, shape = _keras_model(name) if os.path.isfile(name) else _saved_model(name, '--extractor')
    size = _side(shape, name)
    resize = f'bilinear to {size} px, antialiased' if size else 'none'
    label = re.sub(r'\W', '_', os.path.splitext(os.path.basename(os.path.normpath(name)))[0])
    label = f'own_{label}' if label in (*EXTRACTORS, _STAND_IN) else label
    return Extractor(
        label,
        contents_hash(name),
        resize,
        _runner(function, functools.partial(_colour, size=size), f'--extractor={name}'),
    )


def _inception(path):
    """Inception of TF-Hub's tensorflow/tfgan/eval/inception/1, by its handle or from a directory.

    A network that is not seen to be Inception, by its number of convolutions (in a directory) and by what it
    takes a photograph for, is used all the same, with a warning, but its distances are not called FID.
    """
    evaluation = tfgan.evaluation()
    handle, size = evaluation.INCEPTION_TFHUB, evaluation.INCEPTION_DEFAULT_IMAGE_SIZE
    source = path or from_hub(handle)
    function, shape = _saved_model(source, '--inception')
    if shape[1:3] not in ([None, None], [size, size]):
        raise UserError(
            f'--inception={source} takes {shape}, but must take images of {size} px: give another directory'
        )
    run = _runner(function, functools.partial(_colour, size=size, antialias=False), f'--inception={source}')
    features, logits = run(np.zeros([1, 32, 32, 3], np.uint8))
    if features.shape[1] != INCEPTION_FEATURES or logits is None or logits.shape[1] != _INCEPTION_CLASSES:
        raise UserError(
            f'--inception={source} must return pool_3 [n, {INCEPTION_FEATURES}] and logits [n, '
            f'{_INCEPTION_CLASSES}]'
        )
    has_layers = not path or _convolutions(function, size) == _INCEPTION_CONVOLUTIONS
    standard = has_layers and recognises(run)
    if not standard:
        what = 'knows no photograph: its weights are not trained' if has_layers else 'has other layers'
        logging.warning(
            '%s is not the standard Inception (it %s): no score is called FID, KID or Inception score',
            source,
            what,
        )
    name, kind = ('inception', 'standard') if standard else (_STAND_IN, 'stand-in')
    return Extractor(
        name, contents_hash(source), f'bilinear to {size} px, corners as in TensorFlow 1', run, kind
    )


def from_hub(handle):
    """Directory of a network of TF-Hub: from its cache, or downloaded to where it keeps it, once it is whole
    and loads."""
    from tensorflow_hub import resolver

    cache, name = resolver.tfhub_cache_dir(use_temp=True), hashlib.sha1(handle.encode()).hexdigest()
    cached, url = os.path.join(cache, name), f'{handle}?tf-hub-format=compressed'
    if os.path.isdir(cached) and os.listdir(cached):
        return cached
    try:
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'{name}.', dir=cache) as aside:
            archive, network = os.path.join(aside, 'inception.tar.gz'), os.path.join(aside, 'network')
            downloads.download(url, archive)
            with tarfile.open(archive) as packed:
                packed.extractall(network, filter='data')
            tf.saved_model.load(network)
            os.rename(network, cached)
    except Exception as error:  # Servers, archives and disks fail in errors of many kinds.
        if os.path.isdir(cached) and os.listdir(cached):  # Another process was faster.
            return cached
        reason = (
            error
            if isinstance(error, UserError)
            else f'what {url} brings could not be unpacked and loaded ({one_line(error)})'
        )
        by_hand = (
            'fetch it by other means, unpack it in a directory and give --inception=DIR, or another '
            '--extractor'
        )
        raise UserError(f'--extractor=inception is not in {cached}, and {reason}: {by_hand}') from error
    return cached


def _saved_model(path, flag):
    """A callable, float32 images -> whatever the SavedModel returns, and the shape that it declares for
    them."""
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # Whatever is wrong with the files: the parsers raise their own kinds.
        raise UserError(
            f'{flag}={path} is no sound SavedModel ({one_line(error)}): give another directory'
        ) from error
    if callable(loaded):
        (images, *_), _ = loaded.__call__.concrete_functions[0].structured_input_signature
        return loaded, images.shape
    signatures = loaded.signatures
    if 'serving_default' not in signatures and len(signatures) != 1:
        raise UserError(
            f'{flag}={path} can be neither called nor served: its signatures are '
            f'{", ".join(signatures) or "none"}'
        )
    signature = signatures.get('serving_default') or next(iter(signatures.values()))
    (argument, images), *_ = signature.structured_input_signature[1].items()

    def serve(images, kept=loaded):
        del kept  # A signature lives no longer than its model.
        return signature(**{argument: images})

    return serve, images.shape


def _keras_model(path):
    """As `_saved_model`, of a .keras file; one that would run code of its own is refused."""
    try:
        model = keras.saving.load_model(path, compile=False)
        return model, tf.TensorShape(model.input_shape)
    except Exception as error:
        raise UserError(
            f'--extractor={path} is no sound Keras model ({one_line(error)}): give another file'
        ) from error


def _side(shape, name):
    """Height and width of the images that a network declares; None for any."""
    if shape.rank != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise UserError(
            f'--extractor={name} takes {shape}, not square colour images [n, h, h, 3]: give another network'
        )
    return shape[1]


def _colour(images, size, antialias=True):
    """uint8 [n, H, W, 1 or 3] to float32 [n, size, size, 3] in [-1, 1]; without antialiasing the corners are
    those of TensorFlow 1."""
    images = tf.cast(images, tf.float32)
    images = tf.image.grayscale_to_rgb(images) if images.shape[-1] == 1 else images
    if size and antialias:
        images = tf.image.resize(images, [size, size], 'bilinear', antialias=True)
    elif size:
        images = tf.compat.v1.image.resize_bilinear(images, [size, size])
    return pixels.from_levels(images)


def _runner(network, preprocess, flag):
    """Runs a network over uint8 images, a batch at a time on each replica of this process; see
    `Extractor.run`."""
    function = tf.function(
        lambda images: _features_and_logits(network(images), flag), autograph=False, reduce_retracing=True
    )
    run_classifier, batch = tfgan.evaluation().run_classifier_fn, _BATCH * spread.replicas()
    of_batch = spread.over_replicas(lambda images: run_classifier(preprocess(images), function))

    def run(images):
        starts = range(0, len(images), batch)
        features, logits = zip(*(of_batch(images[i : i + batch]) for i in starts), strict=True)
        return np.concatenate(features), None if logits[0] is None else np.concatenate(logits)

    return run


def _features_and_logits(outputs, flag):
    """Features [n, d] and logits [n, classes] or None, of what a network returns."""
    if not isinstance(outputs, dict) or len(outputs) == 1:
        outputs = {_FEATURES[0]: tf.nest.flatten(outputs)[0]}
    features = next((outputs[name] for name in _FEATURES if name in outputs), None)
    if features is None:
        raise UserError(f'{flag} returns {", ".join(outputs)}: {" or ".join(_FEATURES)} is not among them')
    parts = (features, outputs.get(_LOGITS))
    return tuple(
        None if part is None else tf.reshape(tf.cast(part, tf.float32), [tf.shape(part)[0], -1])
        for part in parts
    )


def recognises(run):
    """Whether the logits of a network take a photograph and its mirror image, but not noise, for the same,
    with some certainty.

    A network with random weights does not. The photograph is the portrait that matplotlib ships.

    Args:
      run: as in `Extractor`.
    """
    with Image.open(cbook.get_sample_data('grace_hopper.jpg')) as picture:
        photograph = np.asarray(picture.convert('RGB').resize((299, 299)))
    noise = np.random.default_rng(0).integers(0, 256, photograph.shape, np.uint8)
    _, logits = run(np.stack([photograph, photograph[:, ::-1], noise]))
    (portrait, mirrored, other), chances = logits.argmax(axis=1), tf.nn.softmax(logits).numpy().max(axis=1)
    return bool(portrait == mirrored != other and min(chances[:2]) > _CERTAIN)


def _convolutions(function, size):
    """How many convolutions the largest function within a network has."""
    graph = (
        tf.function(function).get_concrete_function(tf.TensorSpec([None, size, size, 3])).graph.as_graph_def()
    )
    bodies = [graph.node, *(body.node_def for body in graph.library.function)]
    return max(sum(node.op == 'Conv2D' for node in body) for body in bodies)


def contents_hash(path):
    """The first 12 hexadecimal digits of the SHA-256 of a file, or of all files below a directory in the
    order of their paths."""
    paths = [path]
    if os.path.isdir(path):
        paths = sorted(os.path.join(parent, name) for parent, _, names in os.walk(path) for name in names)
    digest = hashlib.sha256()
    for name in paths:
        with open(name, 'rb') as file:
            digest.update(hashlib.file_digest(file, 'sha256').digest())
    return digest.hexdigest()[:12]
