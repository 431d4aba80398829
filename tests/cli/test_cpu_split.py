"""Which commands split their batches over the cores, and what does not go with it."""

import os

import pytest
import tensorflow as tf
from helpers.tiny import TINY, refused

from drl_tf.base.errors import UserError
from drl_tf.cli import cpu_split
from drl_tf.cli.command_options import Command
from drl_tf.cli.parsing import configuration_of
from drl_tf.config.config import Config
from drl_tf.distributed import devices
from drl_tf.distributed.cluster import Devices

IMAGES = Config()


@pytest.mark.parametrize(
    ('modes', 'config', 'cores', 'split'),
    [
        ('train', IMAGES, 2, True),
        ('train,sample,evaluate,export,report', IMAGES, 4, True),
        ('train', IMAGES, 1, False),
        ('train', IMAGES, 8, False),
        ('train', configuration_of(['--dataset=toy_two_moons']), 2, False),
        ('train', IMAGES.replace(norm='batch'), 2, False),
        ('sweep_chains', IMAGES, 2, True),
        ('evaluate', IMAGES, 2, False),
        ('train,likelihood', IMAGES, 2, False),
    ],
)
def test_auto_splits_where_it_is_faster(monkeypatch, modes, config, cores, split):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(cores)))
    command = Command(mode=tuple(modes.split(',')))
    assert cpu_split.splits(command, config, Devices()) == split
    assert not cpu_split.splits(command, config, Devices(cpu_split='no'))
    assert config.network.norm == 'batch' or cpu_split.splits(command, config, Devices(cpu_split='yes'))


@pytest.mark.parametrize(
    ('flags', 'part'),
    [
        (['--norm=batch'], '--norm=batch ties the images of a batch together'),
        (['--strategy=mirrored'], '--cpu_split=yes is for one CPU, not for --strategy=mirrored'),
    ],
)
def test_what_cannot_be_split(capsys, flags, part):
    assert part in refused(capsys, *TINY, '--cpu_split=yes', *flags)


def test_threads_are_set_before_tensorflow_computes(monkeypatch):
    """An accelerator keeps its threads; `yes` then says so."""
    threads = {}
    threading = tf.config.threading
    for name in ('intra', 'inter'):
        setter = lambda count, name=name: threads.update({name: count})  # noqa: E731
        monkeypatch.setattr(threading, f'set_{name}_op_parallelism_threads', setter)
    devices.set_up(False, Devices(), splits=True)
    assert threads == {'intra': 1, 'inter': len(os.sched_getaffinity(0))}
    threads.clear()
    devices.set_up(False, Devices(), splits=False)
    gpu = tf.config.PhysicalDevice('GPU:0', 'GPU')
    listed = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config, 'list_physical_devices', lambda kind=None: [gpu] if kind == 'TPU' else listed(kind)
    )
    devices.set_up(False, Devices(), splits=True)
    assert threads == {}
    with pytest.raises(UserError, match='this machine has GPU:0'):
        devices.set_up(False, Devices(cpu_split='yes'), splits=True)


def test_threads_of_a_process_that_computes_stay(monkeypatch):
    tf.zeros([]).numpy()
    devices.set_up(False, Devices(), splits=True)
    with pytest.raises(UserError, match='TensorFlow has begun to compute'):
        devices.set_up(False, Devices(cpu_split='yes'), splits=True)
