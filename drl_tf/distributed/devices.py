"""Chooses strategy, precision and compilation for the hardware."""

import faulthandler
import functools
import os
import pathlib
import re
import signal
import sys
from typing import Any

import keras
import tensorflow as tf
from absl import logging
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from drl_tf.base.errors import UserError, WorkerLost, one_line
from drl_tf.core import batch_parts
from drl_tf.distributed import cluster
from drl_tf.distributed.rendezvous import gather, interruptible, reached

_CPUINFO = pathlib.Path('/proc/cpuinfo')
GATHERING_SECONDS = 900
_JOINING_SECONDS = 120
_HEARTBEAT_SECONDS = 30
_CONNECTING_SECONDS = 10
_chosen: list[tf.distribute.Strategy] = []


def set_up(deterministic: bool, devices: cluster.Devices | None = None, splits: bool = False) -> None:
    """Configures GPUs and threads, and creates the distribution strategy of this process.

    Call this before any TensorFlow operation. TensorFlow then takes GPU memory only as it needs more.

    Args:
      deterministic: whether TensorFlow uses only operations that give the same bits each time.
      devices: the options that choose the devices; None: the defaults.
      splits: whether to give each core of the CPU its own part of a batch; ignored if this process has an
        accelerator or shares the work with other devices or workers.

    Raises:
      UserError: the TPU is unknown or cannot be reached, the options contradict each other, or they demand
        to split batches (--cpu_split=yes) where this is not possible.
      WorkerLost: the workers do not connect in time.
    """
    devices = devices or cluster.Devices()
    wanted = cluster.chosen(devices)
    for gpu in tf.config.list_physical_devices('GPU'):
        tf.config.experimental.set_memory_growth(gpu, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    if splits and wanted in ('auto', 'one'):
        _split_over_cores(required=devices.cpu_split == 'yes')
    _chosen[:] = [created(wanted, devices, cluster.workers())]


def _split_over_cores(required: bool) -> None:
    """Gives each operation one thread, and lets one operation per core run at the same time."""
    accelerators = [*tf.config.list_physical_devices('GPU'), *tf.config.list_physical_devices('TPU')]
    hindrance = f'this machine has {accelerators[0].name}' if accelerators else ''
    if not hindrance:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(_num_cores())
        except RuntimeError:
            hindrance = 'TensorFlow has begun to compute'
    if hindrance and required:
        raise UserError(f'--cpu_split=yes is for a CPU alone in a new process, but {hindrance}: drop it')


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


@functools.cache
def created(wanted: str, devices: cluster.Devices, workers: cluster.Workers) -> tf.distribute.Strategy:
    """Creates a distribution strategy; for equal arguments, returns the same object again.

    Args:
      wanted: 'one', 'mirrored', 'multi_worker', 'tpu' or 'auto', as `cluster.chosen` returns it. 'auto' is
        'mirrored' if this machine has several GPUs, else 'one'.
      devices: the options that choose the devices.
      workers: the workers that TF_CONFIG names. For 'multi_worker', the call waits until all have started.

    Raises:
      UserError: the TPU that `devices` names is unknown or cannot be reached.
      WorkerLost: the workers do not connect in time.
    """
    if wanted == 'tpu':
        return _tpu(devices)
    if wanted == 'multi_worker':
        return _multi_worker(workers)
    gpus = tf.config.list_physical_devices('GPU')
    if wanted == 'mirrored' or (wanted == 'auto' and len(gpus) > 1):
        kind = 'GPU' if gpus else 'CPU'
        names = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(names)
    if wanted == 'auto' and tf.config.list_physical_devices('TPU'):
        logging.warning('only a part of the TPU of this machine is used: give --tpu=local to use all of it')
    return tf.distribute.get_strategy()


def _tpu(devices: cluster.Devices) -> tf.distribute.Strategy:
    """Connects to a TPU, initialises it and returns a `TPUStrategy` over all its cores."""
    named = f'--tpu={devices.tpu}'
    for name in ('tpu_zone', 'gcp_project'):
        if value := getattr(devices, name):
            named += f' --{name}={value}'
    print(f'connecting to {named}', file=sys.stderr, flush=True)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            devices.tpu, devices.tpu_zone or None, devices.gcp_project or None
        )
        jobs = resolver.cluster_spec().as_dict()  # Looks the name up.
    except Exception as error:  # The Google Cloud client raises errors of many kinds.
        if 'Google API client' in str(error):
            raise UserError(
                f"{named}: looking up a name needs Google's API client: pip install 'drl_tf[tpu]'"
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
            f'{named} cannot be used ({one_line(error)}): check that it is running and can be reached'
        ) from error


def _check_reached(named: str, addresses: list[str]) -> None:
    """Raises UserError if nothing listens at an address; TensorFlow would keep trying for ever."""
    for address in addresses:
        try:
            reached(address, _CONNECTING_SECONDS).close()
        except (OSError, OverflowError, ValueError) as error:
            raise UserError(
                f'{named} cannot be reached at {address} ({one_line(error)}): see that it runs, and '
                'check the address'
            ) from error


def _multi_worker(workers: cluster.Workers) -> tf.distribute.Strategy:
    """Waits for all workers; returns a `MultiWorkerMirroredStrategy` that soon notices a lost worker."""
    mine = f'worker {workers.index} ({workers.addresses[workers.index]})'
    everyone = f'{workers.count} workers at {", ".join(workers.addresses)}'
    print(
        f'waiting for {everyone}, at most {GATHERING_SECONDS} s; this is {mine}', file=sys.stderr, flush=True
    )
    try:
        with interruptible(everyone):
            gather(workers, GATHERING_SECONDS)
        return _joined(workers)
    except (tf.errors.OpError, RuntimeError, OSError) as error:
        raise WorkerLost(
            f'{cluster.TF_CONFIG}: {mine} could not connect to the others of {everyone} ({one_line(error)}): '
            f'check that its port is free, and start all of them within {GATHERING_SECONDS} s'
        ) from error


def _joined(workers: cluster.Workers) -> tf.distribute.Strategy:
    """Returns the strategy, once all workers have joined it.

    TensorFlow has no public way to set these time limits. While TensorFlow connects the workers, no Python
    code runs in this process, so `faulthandler` enforces the limit. TensorFlow's server installs a handler of
    SIGTERM, which `_joined` removes.
    """
    context.context().configure_coordination_service(
        service_type='standalone',
        service_leader=f'/job:{workers.jobs[0][0]}/replica:0/task:0',
        cluster_register_timeout_in_ms=_JOINING_SECONDS * 1000,
        heartbeat_timeout_in_ms=_HEARTBEAT_SECONDS * 1000,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name=name, num_tasks=count) for name, count in workers.jobs
        ],
    )
    faulthandler.dump_traceback_later(2 * _JOINING_SECONDS, exit=True, file=sys.__stderr__ or 2)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def surroundings(deterministic: bool) -> dict[str, Any]:
    """Describes the hardware and software that can change the results of a run, {name: JSON value}.

    The names include 'device', 'replicas' (how many devices train together) and 'tensorflow' (its version).

    Args:
      deterministic: whether operations are deterministic; becomes the entry 'deterministic' of the result.
    """
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return {
        'deterministic': deterministic,
        'device': _device(),
        'replicas': strategy().num_replicas_in_sync,
        'threads of an operation': threads or _num_cores(),
        'parts of a batch': batch_parts.num_parts(_num_cores()),
        'jit_compile': jit_compile(),
        'tensorflow': tf.__version__,
        'keras': keras.__version__,
    }


def _device() -> str:
    """Returns the names of the accelerators, or of the processor if there are none."""
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return ', '.join(sorted({detail.get('device_name', 'GPU') for detail in details}))
    if on_tpu():
        return 'TPU'
    named = re.search(r'model name\s*:\s*(.+)', _cpuinfo())
    return named.group(1) if named else 'CPU'


def count(wanted: str) -> int:
    """Returns how many devices would train together, on this machine and those in TF_CONFIG.

    A machine counts as many devices as it has GPUs. Each other machine is taken to have as many GPUs as this
    one. A machine without GPUs counts as one device, even if it has a TPU; but 'mirrored' then counts the
    logical CPUs of TensorFlow.

    Args:
      wanted: name of the strategy, 'one', 'mirrored', 'multi_worker', 'tpu' or 'auto', as
        `cluster.chosen` returns it.
    """
    gpus = len(tf.config.list_physical_devices('GPU'))
    if wanted == 'one':
        return 1
    if wanted == 'mirrored' and not gpus:
        return len(tf.config.list_logical_devices('CPU'))
    return cluster.workers().count * max(1, gpus)


def strategy() -> tf.distribute.Strategy:
    """Returns the strategy that `set_up` created; before that, TensorFlow's default for one device."""
    return _chosen[0] if _chosen else tf.distribute.get_strategy()


def on_tpu() -> bool:
    """Returns whether a TPU is at hand: this process's strategy uses one, or this machine has one."""
    return isinstance(strategy(), tf.distribute.TPUStrategy) or bool(tf.config.list_physical_devices('TPU'))


def num_workers() -> int:
    """Returns how many workers the strategy spans."""
    is_shared = isinstance(strategy(), tf.distribute.MultiWorkerMirroredStrategy)
    return cluster.workers().count if is_shared else 1


def jit_compile() -> bool:
    """Returns whether to compile with XLA: on GPU and TPU, but not with several workers.

    On CPU, XLA makes Langevin chains slower. XLA cannot compile sums over several workers.
    """
    if isinstance(strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return bool(tf.config.list_physical_devices('GPU')) or on_tpu()


def resolve_precision(precision: str, for_tpu: bool = False) -> str:
    """Returns 'bfloat16' or 'float32'; for 'auto', 'bfloat16' if the hardware supports it.

    Args:
      precision: 'auto', 'float32' or 'bfloat16'.
      for_tpu: True for a TPU that is not connected yet: 'auto' is then 'bfloat16'. False: the hardware of
        this process counts.
    """
    if precision != 'auto':
        return precision
    return 'bfloat16' if _has_bfloat16(for_tpu) else 'float32'


def _has_bfloat16(for_tpu: bool) -> bool:
    if for_tpu or on_tpu():
        return True
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        capabilities = [detail.get('compute_capability') for detail in details]
        return all(capability is not None and capability >= (8, 0) for capability in capabilities)
    flags = _cpuinfo().split()
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def _cpuinfo() -> str:
    return _CPUINFO.read_text(encoding='utf-8') if _CPUINFO.exists() else ''
