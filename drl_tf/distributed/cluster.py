"""Which devices were asked for: the flags, and the workers that TF_CONFIG names. Nothing here needs
TensorFlow."""

import dataclasses
import json
import os
import re
from typing import NamedTuple

from drl_tf.base.errors import UserError
from drl_tf.config.option_fields import option

TF_CONFIG = 'TF_CONFIG'
_JOBS = ('chief', 'worker')
_EXAMPLE = """{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}"""


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices"""

    strategy: str = option(
        'auto',
        'tf.distribute strategy. auto: tpu with --tpu, multi_worker where TF_CONFIG names several workers, '
        'mirrored on several GPUs, '
        'else one.',
        choices=('auto', 'one', 'mirrored', 'multi_worker', 'tpu'),
    )
    tpu: str = option('', 'Name or grpc:// address of a TPU; "local" on a TPU VM.')
    tpu_zone: str = option('', 'Zone of the TPU, where its name alone does not say.')
    gcp_project: str = option('', 'Google Cloud project of the TPU, likewise.')


class Workers(NamedTuple):
    """The processes that train together; `index` is this one, 0 the chief."""

    addresses: tuple[str, ...] = ('localhost',)
    index: int = 0
    jobs: tuple[tuple[str, int], ...] = (('worker', 1),)

    @property
    def count(self):
        return len(self.addresses)


def workers():
    """The `Workers` that TF_CONFIG names; this process alone where it is not set.

    Raises:
      UserError: it is damaged.
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
            f'{TF_CONFIG}={text[:300]} is damaged ({what}): it must read like {_EXAMPLE}, or be unset'
        ) from error


def _workers(cluster, task):
    if not isinstance(cluster, dict) or not cluster or set(cluster) - set(_JOBS):
        raise ValueError(f'the cluster must be of {" and ".join(_JOBS)} alone')
    jobs = tuple((job, len(cluster[job])) for job in _JOBS if cluster.get(job))
    addresses = tuple(address for job, _ in jobs for address in cluster[job])
    if not all(isinstance(address, str) and re.fullmatch(r'.+:[0-9]{1,5}', address) for address in addresses):
        raise ValueError('each address must be host:port')
    if not all(0 < int(address.rpartition(':')[2]) < 65536 for address in addresses):
        raise ValueError('each port must be from 1 to 65535')
    if len(set(addresses)) < len(addresses):
        raise ValueError('two workers have one address')
    if (
        task['type'] not in dict(jobs)
        or type(task['index']) is not int
        or not 0 <= task['index'] < dict(jobs)[task['type']]
    ):
        raise ValueError(f'the cluster has no task {task["type"]} {task["index"]}')
    before = 1 if task['type'] == 'worker' and 'chief' in dict(jobs) else 0
    if dict(jobs).get('chief', 1) > 1:
        raise ValueError('there is more than one chief')
    return Workers(addresses, before + task['index'], jobs)


def chosen(devices):
    """The strategy that the flags and TF_CONFIG ask for, by the name of --strategy; 'auto' where the GPUs
    decide.

    Raises:
      UserError: they contradict each other.
    """
    count = workers().count
    for name in ('tpu_zone', 'gcp_project'):
        if getattr(devices, name) and not devices.tpu:
            raise UserError(
                f'--{name}={getattr(devices, name)} is for a TPU: give its name by --tpu, or drop it'
            )
    if devices.strategy == 'tpu' and not devices.tpu:
        raise UserError('--strategy=tpu needs --tpu, the name of the TPU ("local" on a TPU VM)')
    if devices.tpu and devices.strategy not in ('auto', 'tpu'):
        raise UserError(
            f'--tpu={devices.tpu} does not go with --strategy={devices.strategy}: drop one of them'
        )
    wanted = 'tpu' if devices.tpu else devices.strategy
    if wanted == 'multi_worker' and count < 2:
        raise UserError(
            f'--strategy=multi_worker needs {TF_CONFIG} with two workers or more: {_EXAMPLE}, one index for '
            'each process'
        )
    if wanted in ('one', 'mirrored', 'tpu') and count > 1:
        raise UserError(
            f'--strategy={wanted} is for one process, {TF_CONFIG} names {count} workers: unset it, or '
            '--strategy=multi_worker'
        )
    return 'multi_worker' if count > 1 else wanted
