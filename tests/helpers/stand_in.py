"""Networks with the outputs of Inception, `pool_3` [n, 2048] and `logits` [n, 1008], none of which is
Inception: for tests alone."""

import sys

import tensorflow as tf

SIZE, FEATURES, CLASSES = 299, 2048, 1008
CONVOLUTIONS = 94


class StandIn(tf.Module):
    """A random projection of the image at 8 px; with `convolutions`, after as many of them as Inception has,
    each an identity.

    With `says`, how many images it takes is written to stderr; `features` names what it returns.
    """

    def __init__(self, seed=0, convolutions=0, says=False, features='pool_3'):
        super().__init__()
        self.projection = tf.Variable(tf.random.stateless_normal([8 * 8 * 3, FEATURES], [seed, 0]) / 14)
        self.classes = tf.Variable(tf.random.stateless_normal([FEATURES, CLASSES], [seed, 1]) / 16)
        self.identity = tf.eye(3)[None, None]
        self.convolutions = convolutions
        self.says, self.features = says, features

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3])])
    def __call__(self, images):
        if self.says:
            tf.print('took', tf.shape(images)[0], output_stream=sys.stderr)
        small = tf.image.resize(images, [8, 8], antialias=True)
        for _ in range(self.convolutions):
            small = tf.nn.conv2d(small, self.identity, 1, 'SAME')
        pool_3 = tf.nn.relu(tf.reshape(small, [-1, 8 * 8 * 3]) @ self.projection)
        return {self.features: pool_3[:, None, None], 'logits': pool_3 @ self.classes}


def save(path, **options):
    """Writes a stand-in as a SavedModel, and returns its path as a text."""
    tf.saved_model.save(StandIn(**options), str(path))
    return str(path)
