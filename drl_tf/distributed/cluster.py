"""Reads which devices the options choose, and which workers TF_CONFIG names, without TensorFlow."""

import dataclasses
import json
import os
import re
from typing import Any

from drl_tf.base.errors import UserError
from drl_tf.config.option_fields import option

TF_CONFIG = 'TF_CONFIG'
_JOBS = ('chief', 'worker')
_EXAMPLE = """{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}"""


@dataclasses.dataclass(frozen=True)
class Devices:
    """Device options: accelerators and workers.

    Each field is an option of the command line; `python run.py --help` shows their help texts.
    """

    strategy: str = option(
        'auto',
        'tf.distribute strategy. auto: tpu with --tpu, multi_worker if TF_CONFIG names several workers, '
        'mirrored on several GPUs, else one.',
        choices=('auto', 'one', 'mirrored', 'multi_worker', 'tpu'),
    )
    tpu: str = option('', 'Name or grpc:// address of a TPU; "local" on a TPU VM.')
    tpu_zone: str = option('', 'Google Cloud zone of the TPU, if its name does not determine it.')
    gcp_project: str = option('', 'Google Cloud project of the TPU, if its name does not determine it.')
    cpu_split: str = option(
        'auto',
        'Give each core of a CPU its own part of a batch; otherwise all cores share each operation. auto: '
        'yes for train, sample, tune_sampler, ablate and most sweeps, on 2 to 4 cores.',
        choices=('auto', 'yes', 'no'),
    )


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes (workers) that train together. The first one is the chief, which writes the files.

    Attributes:
      addresses: 'host:port' of each worker, the chief first.
      index: index of this process in `addresses`; 0: it is the chief.
      jobs: pairs ('chief' or 'worker', number of processes with this role in TF_CONFIG).
    """

    addresses: tuple[str, ...] = ('localhost',)
    index: int = 0
    jobs: tuple[tuple[str, int], ...] = (('worker', 1),)

    @property
    def count(self) -> int:
        return len(self.addresses)


def workers() -> Workers:
    """Returns the workers that the environment variable TF_CONFIG names; only this process if it is not set.

    Raises:
      UserError: TF_CONFIG is damaged.
    """
    text = os.environ.get(TF_CONFIG, '').strip()
    if not text:
        return Workers()
    try:
        stored = json.loads(text)
        return _workers(stored['cluster'], stored['task']) if stored else Workers()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f'{type(error).__name__}: {error}'
        raise UserError(
            f'{TF_CONFIG}={text[:300]} is damaged ({what}): write it like {_EXAMPLE}, or unset it'
        ) from error


def _workers(cluster: Any, task: Any) -> Workers:
    """Returns the `Workers` for the parts 'cluster' and 'task' of TF_CONFIG; if they are wrong, raises
    ValueError, KeyError, TypeError or AttributeError."""
    if not isinstance(cluster, dict) or not cluster or set(cluster) - set(_JOBS):
        raise ValueError(f'the only jobs of the cluster must be {" and ".join(_JOBS)}')
    jobs = tuple((job, len(cluster[job])) for job in _JOBS if cluster.get(job))
    counts = dict(jobs)
    addresses = tuple(address for job, _ in jobs for address in cluster[job])
    _check_addresses(addresses)
    kind = task['type']
    index = task['index']
    if kind not in counts or type(index) is not int or not 0 <= index < counts[kind]:
        raise ValueError(f'the cluster has no task {kind} {index}')
    if counts.get('chief', 1) > 1:
        raise ValueError('there is more than one chief')
    is_after_chief = kind == 'worker' and 'chief' in counts
    return Workers(addresses, index + 1 if is_after_chief else index, jobs)


def _check_addresses(addresses: tuple[Any, ...]) -> None:
    """Raises ValueError unless the addresses are different and each is host:port."""
    if not all(isinstance(address, str) and re.fullmatch(r'.+:[0-9]{1,5}', address) for address in addresses):
        raise ValueError('each address must be host:port')
    if not all(0 < int(address.rpartition(':')[2]) < 65536 for address in addresses):
        raise ValueError('each port must be from 1 to 65535')
    if len(set(addresses)) < len(addresses):
        raise ValueError('two workers have one address')


def chosen(devices: Devices) -> str:
    """Returns the name of the distribution strategy that the options and the variable TF_CONFIG choose.

    Args:
      devices: the options that choose the devices.

    Returns:
      'one', 'mirrored', 'multi_worker', 'tpu' or 'auto'. With 'auto', `devices.created` decides: a mirrored
      strategy if this machine has several GPUs, else one device.

    Raises:
      UserError: the options contradict TF_CONFIG or each other.
    """
    count = workers().count
    for name in ('tpu_zone', 'gcp_project'):
        value = getattr(devices, name)
        if value and not devices.tpu:
            raise UserError(f'--{name}={value} is for a TPU: give its name by --tpu, or drop it')
    if devices.strategy == 'tpu' and not devices.tpu:
        raise UserError('--strategy=tpu needs --tpu, the name of the TPU ("local" on a TPU VM)')
    if devices.tpu and devices.strategy not in ('auto', 'tpu'):
        raise UserError(
            f'--tpu={devices.tpu} does not go with --strategy={devices.strategy}: drop one of them'
        )
    wanted = 'tpu' if devices.tpu else devices.strategy
    if wanted == 'multi_worker' and count < 2:
        raise UserError(
            f'--strategy=multi_worker needs {TF_CONFIG} with two or more workers: {_EXAMPLE}, and another '
            'index in each process'
        )
    if wanted in ('one', 'mirrored', 'tpu') and count > 1:
        raise UserError(
            f'--strategy={wanted} is for one process, but {TF_CONFIG} names {count} workers: unset it, or '
            'give --strategy=multi_worker'
        )
    wanted = 'multi_worker' if count > 1 else wanted
    if devices.cpu_split == 'yes' and wanted not in ('auto', 'one'):
        raise UserError(f'--cpu_split=yes is for one CPU, not for --strategy={wanted}: drop one of them')
    return wanted
