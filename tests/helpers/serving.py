"""What the tests of serving share: requests of the small exported model, and servers in processes of their
own."""

import contextlib
import pathlib
import re
import socket
import subprocess
import sys
import time

import numpy as np
import requests
import tensorflow as tf

from drl_tf.serving import export
from drl_tf.serving.requests import traced
from drl_tf.serving.signatures import Export
from helpers import forks
from helpers.tiny import ROOT

DOCS = ROOT / 'docs'
_SEED, _LEVEL = ('seed', [2], tf.int32), ('level', [None], tf.int32)
_IMAGES = ('images', [None, 8, 8, 1], tf.float32)
_INPUTS = {
    'sample': (_SEED, ('num_samples', [], tf.int32)),
    'energy': (_IMAGES, _LEVEL),
    'energy_bytes': (('images_bytes', [None], tf.string), _LEVEL),
    'denoise': (_IMAGES, _LEVEL, _SEED),
    'score': (_IMAGES,),
    'score_bytes': (('images_bytes', [None], tf.string),),
    'log_likelihood': (_IMAGES,),
}


def export_only(monkeypatch, *names):
    """Lets exports of models of 8 px have these signatures alone, which takes less time. One for files comes
    after its twin for arrays."""

    class Few(Export):
        def signatures(self):
            found = {}
            for name in names:
                function = getattr(self, name.removesuffix('_bytes'))
                if name.endswith('_bytes'):
                    function = self._with_files(function, found[function.__name__])
                found[name] = traced(function, _INPUTS[name])
            return found

    monkeypatch.setattr(export, 'Export', Few)


def inputs(count, names):
    """Inputs of a signature for some images."""
    rng = np.random.default_rng(count)
    files = tf.io.encode_png(rng.integers(0, 256, [count, 8, 8, 1]).astype(np.uint8)).numpy()
    every = {
        'images': rng.uniform(-1, 1, [count, 8, 8, 1]).astype(np.float32),
        'images_bytes': files,
        'level': np.arange(count, dtype=np.int32) % 2,
        'labels': np.arange(count, dtype=np.int32) % 11 - 1,
        'seed': np.int32([5, count]),
        'num_samples': np.int32(count),
        'guidance': np.float32(0.5),
        'missing': rng.random([count, 8, 8, 1]) < 0.3,
        'between': np.int32([3, 7]),
        'position': np.linspace(0, 1, count, dtype=np.float32),
    }
    return {name: every[name] for name in names}


def free_ports():
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in taken:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in taken]


def _started(command, log):
    if command[0] == sys.executable:
        return forks.start(command[1:], log, log)
    with open(log, 'w') as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)


@contextlib.contextmanager
def serving(command, log, **options):
    """Ports of gRPC and REST of a server with these flags, once it answers or has ended."""
    ports = free_ports()
    flags = [
        f'--{name}={value}'
        for name, value in {'port': ports[0], 'rest_api_port': ports[1], **options}.items()
    ]
    with _started([*command, *flags], log) as process:
        try:
            while process.poll() is None:
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(f'http://localhost:{ports[1]}/v1/models/none', timeout=60)
                    break
                time.sleep(0.2)
            assert process.poll() is None, pathlib.Path(log).read_text()[-3000:]
            yield ports
        finally:
            process.terminate()


def printed_commands(*programs):
    """The commands of these programs in docs/serving.md."""
    lines = (DOCS / 'serving.md').read_text().splitlines()
    return [line.strip() for line in lines if re.match(rf'    ({"|".join(programs)}) ', line)]


def refused_by_client(code, *arguments):
    """The one line with which the client ends."""
    done = forks.run(DOCS / 'serving' / 'client.py', *arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert done.returncode == code and len(lines) == 1 and 'Traceback' not in done.stderr, done.stderr
    return lines[0]
