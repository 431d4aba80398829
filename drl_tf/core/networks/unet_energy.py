"""The energy <w, UNet(w, t)>, the network of preconditioned energies."""

from typing import Any

import keras
import tensorflow as tf

from drl_tf.core.networks.unet import Size, UNet
from drl_tf.core.noise import Dropout
from drl_tf.core.saving import SavedNetwork


class UNetEnergy(SavedNetwork, keras.layers.Layer):
    """The energy network e(w, t) = <w, UNet(w, t)>: the inner product of an image with its UNet output.

    w is a noisy image at noise level t, scaled to about unit variance. e is one number for each w, and zero
    before training. A call takes the images w, and their noise levels and classes as a dict, which the method
    `prepare` makes.

    Args:
      size: widths and depth of the `UNet`, a `Size`.
      image_shape: (H, W, C); H and W are multiples of 2^(R - 1) for a network with R resolutions.
      num_classes: number of classes; 0 for none.
      dtype: Keras dtype policy, 'float32' or 'mixed_bfloat16'; the result is float32.

    Examples:
      >>> size = Size(channels=8, mult=(1, 2), blocks=1, attention=False, dropout=0.0)
      >>> e = UNetEnergy(size, (8, 8, 1))
      >>> e(tf.ones([2, 8, 8, 1]), e.prepare(time=tf.zeros([2]))).numpy()
      array([0., 0.], dtype=float32)
    """

    arguments = ('size', 'image_shape', 'num_classes')

    def __init__(
        self, size: Size, image_shape: tuple[int, int, int], num_classes: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.size = size
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.unet = UNet(size, image_shape, num_classes, dtype=self.dtype_policy, name='unet')
        self.built = True

    def prepare(self, time: tf.Tensor, labels: tf.Tensor | None = None) -> dict[str, Any]:
        """Returns noise levels and classes as a dict, to pass to `call` as `prepared`.

        Args:
          time: a number for the noise level of each image, such as `preconditioning.time_of` computes,
            float32 [B].
          labels: class + 1 of each image, or 0 for no class, int32 [B]. None: no image has a class.
        """
        return {'time': time, 'labels': labels}

    def call(
        self,
        w: tf.Tensor,
        prepared: dict[str, Any],
        dropout: Dropout | None = None,
        remat: bool = False,
    ) -> tf.Tensor:
        """Computes e(w, t), one number per image.

        Args:
          w: noisy images, scaled to about unit variance, float32 [B, H, W, C].
          prepared: the result of `prepare` for the noise levels t and the classes of the images.
          dropout: `noise.Dropout` for training; None for no dropout.
          remat: if True, the gradient recomputes activations instead of storing them, which saves memory.

        Returns:
          e(w, t), float32 [B].
        """
        image = self.unet(w, prepared['time'], prepared['labels'], dropout=dropout, remat=remat)
        return tf.reduce_sum(w * image, axis=[1, 2, 3])
