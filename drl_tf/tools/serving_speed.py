"""Measures how many requests per second an exported model answers in this process, and their latency.

    python -m drl_tf.tools.serving_speed

Without --model it exports the digits preset with untrained weights, which costs the same. Requests come one
after another, and from 8 threads at once.
"""

import argparse
import concurrent.futures
import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np

from drl_tf.cli import parsing
from drl_tf.core.build_model import build_model
from drl_tf.serving import export
from drl_tf.tools.model_server_models import Version, request_of

BATCHES = (1, 8, 64)
THREADS = (1, 8)
SIGNATURES = ('energy', 'sample')


def main() -> None:
    """Measures how fast an exported model answers requests, and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--model', default='', help='Version folder to measure.')
    parser.add_argument('--seconds', type=float, default=10, help='Seconds to measure each row.')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(options.model or _digits(directory))
        begin = time.perf_counter()
        version = Version(path)
        loading = time.perf_counter() - begin
        print(f'{len(os.sched_getaffinity(0))} CPU cores; loaded and warmed up in {loading:.1f} s')
        print('| signature | images | threads | requests/s | images/s | median | 95 % below |')
        print('|---|---|---|---|---|---|---|')
        for signature in SIGNATURES:
            for count in BATCHES:
                _print_rows(version, signature, count, options.seconds)


def _print_rows(version: Version, signature: str, count: int, seconds: float) -> None:
    """Prints a row for each number of threads."""
    request = request_of(signature, inputs(version, signature, count))
    version.predict(request)
    for threads in THREADS:
        total, latencies = _measure(lambda: version.predict(request), threads, seconds)
        rate = len(latencies) / total
        median, most = np.percentile(latencies, [50, 95]) * 1000
        cells = [f'{rate:,.1f}', f'{rate * count:,.1f}', f'{median:,.1f} ms', f'{most:,.1f} ms']
        print(f'| `{signature}` | {count} | {threads} | {" | ".join(cells)} |', flush=True)


def _digits(directory: str) -> str:
    """Exports an untrained model of digits to `directory`, and returns its version directory."""
    config = parsing.configuration_of([]).replace(precision='float32')
    return export.write(build_model(config), config, 0, os.path.join(directory, 'digits'), 1024)['SavedModel']


def inputs(version: Version, signature: str, count: int) -> dict[str, np.ndarray]:
    """Makes the inputs of a request for tests of speed, {name of the input: array}.

    Args:
      version: the loaded model; it knows the shape of the images.
      signature: the signature to which the request goes: 'sample' or 'energy'.
      count: number of images to sample, or of random images whose energies are computed.
    """
    if signature == 'sample':
        return {'seed': np.array([0, 3], np.int32), 'num_samples': np.array(count, np.int32)}
    shape = [size.size for size in version.signatures[signature].inputs['images'].tensor_shape.dim[1:]]
    images = np.random.default_rng(0).normal(size=[count, *shape]).astype(np.float32)
    return {'images': images, 'level': np.zeros(count, np.int32)}


def _measure(function: Callable[[], object], threads: int, seconds: float) -> tuple[float, list[float]]:
    """Calls a function from threads for some seconds; returns the seconds taken, in all and by each call."""

    def work(_: int) -> list[float]:
        latencies = []
        while time.perf_counter() < end:
            begin = time.perf_counter()
            function()
            latencies.append(time.perf_counter() - begin)
        return latencies

    begin = time.perf_counter()
    end = begin + seconds
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        latencies = [latency for part in pool.map(work, range(threads)) for latency in part]
    return time.perf_counter() - begin, latencies


if __name__ == '__main__':
    main()
