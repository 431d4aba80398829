"""What the hardware offers: strategy, precision, compilation. The one place where these are chosen."""

import pathlib

import tensorflow as tf


def set_up():
    """Lets TensorFlow take GPU memory as it needs it instead of all at once."""
    for gpu in tf.config.list_physical_devices('GPU'):
        tf.config.experimental.set_memory_growth(gpu, True)


def strategy():
    """`MirroredStrategy` over several GPUs, otherwise the default strategy of one device."""
    if len(tf.config.list_physical_devices('GPU')) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def jit_compile():
    """Whether XLA helps: it does on GPU and TPU, and slows the Langevin loop on CPU."""
    return bool(tf.config.list_physical_devices('GPU') or tf.config.list_physical_devices('TPU'))


def resolve_precision(precision):
    """Turns 'auto' into 'bfloat16' where the hardware computes in it, 'float32' elsewhere."""
    if precision != 'auto':
        return precision
    return 'bfloat16' if _has_bfloat16() else 'float32'


def _has_bfloat16():
    if tf.config.list_physical_devices('TPU'):
        return True
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        capabilities = (tf.config.experimental.get_device_details(gpu).get('compute_capability') for gpu in gpus)
        return all(capability is not None and capability >= (8, 0) for capability in capabilities)
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    flags = cpuinfo.read_text(encoding='utf-8').split() if cpuinfo.exists() else ()
    return 'avx512_bf16' in flags or 'amx_bf16' in flags
