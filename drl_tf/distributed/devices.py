"""What the hardware offers: strategy, precision, compilation. The one place where these are chosen."""

import faulthandler
import functools
import os
import pathlib
import re
import signal
import sys

import keras
import tensorflow as tf
from absl import logging
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from drl_tf.base.errors import UserError, WorkerLost, one_line
from drl_tf.distributed import cluster
from drl_tf.distributed.rendezvous import gather, interruptible, reached

_CPUINFO = pathlib.Path('/proc/cpuinfo')
GATHERING_SECONDS, _JOINING_SECONDS, _HEARTBEAT_SECONDS = 900, 120, 30
_CONNECTING_SECONDS = 10
_chosen = []


def set_up(deterministic, devices=None):
    """Chooses the strategy, before any operation of TensorFlow, and what it needs of GPUs.

    GPU memory is taken as it is needed instead of all at once; where asked to, no kernel that varies is used.

    Args:
      deterministic: whether only such kernels are used.
      devices: a `cluster.Devices`; its defaults where None.

    Raises:
      UserError: the devices that were asked for are not there.
    """
    wanted = cluster.chosen(devices := devices or cluster.Devices())
    for gpu in tf.config.list_physical_devices('GPU'):
        tf.config.experimental.set_memory_growth(gpu, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    _chosen[:] = [created(wanted, devices, cluster.workers())]


@functools.cache
def created(wanted, devices, workers):
    """A strategy, made once in a process."""
    if wanted == 'tpu':
        return _tpu(devices)
    if wanted == 'multi_worker':
        return _multi_worker(workers)
    gpus = tf.config.list_physical_devices('GPU')
    if wanted == 'mirrored' or (wanted == 'auto' and len(gpus) > 1):
        kind = 'GPU' if gpus else 'CPU'
        return tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
    if wanted == 'auto' and tf.config.list_physical_devices('TPU'):
        logging.warning('this machine has a TPU, which is not used in full: --tpu=local')
    return tf.distribute.get_strategy()


def _tpu(devices):
    """`TPUStrategy` over all cores of a TPU, which is connected to and initialised."""
    place = ''.join(
        f' --{name}={value}' for name in ('tpu_zone', 'gcp_project') if (value := getattr(devices, name))
    )
    named = f'--tpu={devices.tpu}{place}'
    print(f'connecting to {named}', file=sys.stderr, flush=True)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            devices.tpu, devices.tpu_zone or None, devices.gcp_project or None
        )
        jobs = resolver.cluster_spec().as_dict()  # Here alone is a name looked up.
    except Exception as error:  # The client of Google Cloud raises errors of many kinds.
        if 'Google API client' in str(error):
            raise UserError(
                f"{named} is a name, and to look it up takes Google's client: pip install 'drl_tf[tpu]'"
            ) from error
        raise UserError(
            f'{named} is not known ({one_line(error)}): see `gcloud compute tpus list`'
        ) from error
    _check_reached(named, [address for job in jobs.values() for address in job])
    try:
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UserError(
            f'{named} cannot be used ({one_line(error)}): see that it runs and can be reached'
        ) from error


def _check_reached(named, addresses):
    """Raises UserError where nothing listens at an address; TensorFlow would try without end."""
    for address in addresses:
        try:
            reached(address, _CONNECTING_SECONDS).close()
        except (OSError, OverflowError, ValueError) as error:
            raise UserError(
                f'{named} cannot be reached at {address} ({one_line(error)}): see that it runs, and the '
                'address'
            ) from error


def _multi_worker(workers):
    """`MultiWorkerMirroredStrategy`, once all workers are there; a worker that is gone is noticed within
    seconds.

    (TensorFlow has no public way to set these times. Its servers also take SIGTERM for themselves: that is
    undone. While they find each other no code of Python runs in this process, so that it is `faulthandler`
    that bounds it.)
    """
    mine, others = (
        f'worker {workers.index} ({workers.addresses[workers.index]})',
        f'{workers.count} workers at {", ".join(workers.addresses)}',
    )
    print(f'waiting for {others}, {GATHERING_SECONDS} s at most; this is {mine}', file=sys.stderr, flush=True)
    try:
        with interruptible(others):
            gather(workers, GATHERING_SECONDS)
        return _joined(workers)
    except (tf.errors.OpError, RuntimeError, OSError) as error:
        raise WorkerLost(
            f'{cluster.TF_CONFIG}: {mine} does not get together with the others of {others} '
            f'({one_line(error)}): see that its port is '
            f'free, and that all of them are started within {GATHERING_SECONDS} s'
        ) from error


def _joined(workers):
    """The strategy of workers that are all there."""
    context.context().configure_coordination_service(
        service_type='standalone',
        service_leader=f'/job:{workers.jobs[0][0]}/replica:0/task:0',
        cluster_register_timeout_in_ms=_JOINING_SECONDS * 1000,
        heartbeat_timeout_in_ms=_HEARTBEAT_SECONDS * 1000,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name=name, num_tasks=count) for name, count in workers.jobs
        ],
    )
    faulthandler.dump_traceback_later(2 * _JOINING_SECONDS, exit=True, file=sys.__stderr__)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def surroundings(deterministic):
    """What the bits of a run depend on besides its seed and architecture: {what: value}, ready for JSON."""
    return {
        'deterministic': deterministic,
        'device': _device(),
        'replicas': strategy().num_replicas_in_sync,
        'threads of an operation': tf.config.threading.get_intra_op_parallelism_threads()
        or len(os.sched_getaffinity(0)),
        'jit_compile': jit_compile(),
        'tensorflow': tf.__version__,
        'keras': keras.__version__,
    }


def _device():
    """Name of the accelerators, or of the processor where there are none."""
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        return ', '.join(
            sorted({tf.config.experimental.get_device_details(gpu).get('device_name', 'GPU') for gpu in gpus})
        )
    if on_tpu():
        return 'TPU'
    named = re.search(r'model name\s*:\s*(.+)', _cpuinfo())
    return named.group(1) if named else 'CPU'


def count(wanted):
    """How many devices would train together under what `cluster.chosen` returns, as this machine and
    TF_CONFIG tell; not of a TPU."""
    gpus = len(tf.config.list_physical_devices('GPU'))
    if wanted == 'one':
        return 1
    if wanted == 'mirrored' and not gpus:
        return len(tf.config.list_logical_devices('CPU'))
    return cluster.workers().count * max(1, gpus)


def strategy():
    """The strategy that `set_up` chose; the default one of one device where nothing was."""
    return _chosen[0] if _chosen else tf.distribute.get_strategy()


def on_tpu():
    """Whether the strategy is that of a TPU, or there is one in this machine."""
    return isinstance(strategy(), tf.distribute.TPUStrategy) or bool(tf.config.list_physical_devices('TPU'))


def jit_compile():
    """Whether XLA helps: it does on GPU and TPU, and slows the Langevin loop on CPU. It does not compile what
    several workers sum."""
    if isinstance(strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return bool(tf.config.list_physical_devices('GPU')) or on_tpu()


def resolve_precision(precision, for_tpu=False):
    """Turns 'auto' into 'bfloat16' where the hardware, or a TPU that is not there yet, computes in it,
    'float32' elsewhere."""
    if precision != 'auto':
        return precision
    return 'bfloat16' if _has_bfloat16(for_tpu) else 'float32'


def _has_bfloat16(for_tpu):
    if for_tpu or on_tpu():
        return True
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        capabilities = (
            tf.config.experimental.get_device_details(gpu).get('compute_capability') for gpu in gpus
        )
        return all(capability is not None and capability >= (8, 0) for capability in capabilities)
    flags = _cpuinfo().split()
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def _cpuinfo():
    return _CPUINFO.read_text(encoding='utf-8') if _CPUINFO.exists() else ''
