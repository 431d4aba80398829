"""What the hardware offers: strategy, precision, compilation. The one place where these are chosen."""

import os
import pathlib
import re

import keras
import tensorflow as tf

_CPUINFO = pathlib.Path('/proc/cpuinfo')


def set_up(deterministic):
    """Lets TensorFlow take GPU memory as it needs it instead of all at once and, where asked to, use no kernel that varies."""
    for gpu in tf.config.list_physical_devices('GPU'):
        tf.config.experimental.set_memory_growth(gpu, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def surroundings(deterministic):
    """What the bits of a run depend on besides its seed and architecture: {what: value}, ready for JSON."""
    return {
        'deterministic': deterministic,
        'device': _device(),
        'replicas': strategy().num_replicas_in_sync,
        'threads of an operation': tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0)),
        'jit_compile': jit_compile(),
        'tensorflow': tf.__version__,
        'keras': keras.__version__,
    }


def _device():
    """Name of the accelerators, or of the processor where there are none."""
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        return ', '.join(sorted({tf.config.experimental.get_device_details(gpu).get('device_name', 'GPU') for gpu in gpus}))
    if tf.config.list_physical_devices('TPU'):
        return 'TPU'
    named = re.search(r'model name\s*:\s*(.+)', _cpuinfo())
    return named.group(1) if named else 'CPU'


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
    flags = _cpuinfo().split()
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def _cpuinfo():
    return _CPUINFO.read_text(encoding='utf-8') if _CPUINFO.exists() else ''
