"""Linear maps H from an image x to an observation o = H x + noise, for inverse problems."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

_GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as in `tf.image.rgb_to_grayscale`.


@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """A linear map H from images, float32 [B, height, width, C], to observations.

    Attributes:
      apply: callable, images x -> observations H x.
      misfit: callable, (r, v, V) -> r^T (v I + V H H^T)^-1 r, float32 [B], where ^T is the transpose. r is
        the residual o - H x of images x and their observations o, of the shape of o. v is the variance of the
        noise in o, and V the variance of each pixel of x; both are float32, one number or one per image,
        [B, 1, 1, 1]. The result is the squared Mahalanobis distance of r from 0.
      inverse: callable, residuals r -> images H^+ r, with the pseudo-inverse H^+. None if the pseudo-inverse
        would amplify noise.

    Examples:
      >>> operator = pooled(2)
      >>> x = tf.ones([1, 4, 4, 1])
      >>> operator.apply(x).shape, bool(tf.reduce_all(operator.inverse(operator.apply(x)) == x))
      (TensorShape([1, 2, 2, 1]), True)
    """

    apply: Callable[[tf.Tensor], tf.Tensor]
    misfit: Callable[[tf.Tensor, float | tf.Tensor, tf.Tensor], tf.Tensor]
    inverse: Callable[[tf.Tensor], tf.Tensor] | None


def masked(observed: tf.Tensor) -> Operator:
    """Returns the operator that keeps the observed pixels and sets all others to 0 (inpainting).

    Args:
      observed: mask, 1 at observed pixels and 0 elsewhere, float32; it broadcasts against images
        [B, H, W, C].

    Examples:
      >>> masked(tf.constant([[[1.0]], [[0.0]]])).apply(tf.ones([1, 2, 2, 1]))[0, :, 0, 0].numpy()
      array([1., 0.], dtype=float32)
    """
    return _isotropic(lambda x: observed * x, lambda r: observed * r, 1.0)


def pooled(factor: int) -> Operator:
    """Returns the operator that averages blocks of `factor` x `factor` pixels (super-resolution).

    Args:
      factor: height and width of a block in pixels, a divisor of the height and the width of the images.

    Examples:
      >>> pooled(2).apply(tf.ones([1, 4, 4, 1])).shape
      TensorShape([1, 2, 2, 1])
    """

    def apply(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.avg_pool2d(x, factor, factor, 'VALID')

    def inverse(r: tf.Tensor) -> tf.Tensor:
        return tf.repeat(tf.repeat(r, factor, axis=1), factor, axis=2)

    return _isotropic(apply, inverse, 1 / factor**2)


def grey() -> Operator:
    """Returns the operator that turns colour images, [B, H, W, 3], into grey images, [B, H, W, 1].

    The weights of the channels are those of ITU-R BT.601.

    Examples:
      >>> grey().apply(tf.ones([1, 4, 4, 3])).shape
      TensorShape([1, 4, 4, 1])
    """
    weights = tf.constant(_GREY)
    square = float(np.sum(np.square(_GREY)))
    return _isotropic(
        lambda x: tf.reduce_sum(weights * x, axis=-1, keepdims=True), lambda r: weights * r / square, square
    )


def blurred(kernel: np.ndarray, height: int, width: int) -> Operator:
    """Returns the operator that convolves images with a blur kernel, with periodic boundaries.

    Args:
      kernel: weights, float [h, w], at most as large as the images. The middle entry weighs the pixel itself.
        The function divides the kernel by its sum.
      height, width: size of the images in pixels.

    Examples:
      >>> x = tf.ones([1, 8, 8, 1])
      >>> np.allclose(blurred(np.ones([3, 3]), 8, 8).apply(x), x, atol=1e-6)
      True
    """
    padded = np.zeros([height, width])
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel / kernel.sum()
    middle = (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2))
    transfer = np.fft.fft2(np.roll(padded, middle, axis=(0, 1)))
    power = tf.constant(np.abs(transfer) ** 2, tf.float32)

    def spectrum(x: tf.Tensor) -> tf.Tensor:
        return tf.signal.fft2d(tf.cast(tf.transpose(x, [0, 3, 1, 2]), tf.complex64))

    def apply(x: tf.Tensor) -> tf.Tensor:
        blurry = tf.math.real(tf.signal.ifft2d(spectrum(x) * transfer.astype(np.complex64)))
        return tf.transpose(blurry, [0, 2, 3, 1])

    def misfit(r: tf.Tensor, noise_variance: float | tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        values = spectrum(r)
        squares = (tf.math.real(values) ** 2 + tf.math.imag(values) ** 2) / (height * width)
        return tf.reduce_sum(squares / (noise_variance + variance * power), axis=[1, 2, 3])

    return Operator(apply, misfit, None)


def _isotropic(
    apply: Callable[[tf.Tensor], tf.Tensor], inverse: Callable[[tf.Tensor], tf.Tensor], square: float
) -> Operator:
    """Returns the operator of a map H for which H H' is `square` times the identity on observed pixels."""

    def misfit(r: tf.Tensor, noise_variance: float | tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(r**2 / (noise_variance + square * variance), axis=[1, 2, 3])

    return Operator(apply, misfit, inverse)
