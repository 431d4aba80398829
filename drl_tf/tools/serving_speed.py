"""Requests a second, and how long each takes, of an exported model in this process, through the v1 Session.

    python -m drl_tf.tools.serving_speed

Without --model it exports the digits preset with weights that are not trained, which costs the same. Requests
come one after the other, and from 8 threads at once.
"""

import argparse
import concurrent.futures
import os
import pathlib
import tempfile
import time

import numpy as np

from drl_tf.cli import parsing
from drl_tf.core.models import build_model
from drl_tf.serving import export
from drl_tf.tools import model_server_models
from drl_tf.tools.model_server_models import request_of

BATCHES, THREADS, SIGNATURES = (1, 8, 64), (1, 8), ('energy', 'sample')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', default='', help='A version folder.')
    parser.add_argument('--seconds', type=float, default=10, help='How long to measure each row.')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path, begin = pathlib.Path(options.model or digits(directory)), time.perf_counter()
        version = model_server_models.Version(path)
        print(
            f'{len(os.sched_getaffinity(0))} CPU cores; loaded and warmed up in '
            f'{time.perf_counter() - begin:.1f} s'
        )
        print(
            '| signature | images | threads | requests/s | images/s | median | 95 % below '
            '|\n|---|---|---|---|---|---|---|'
        )
        for signature in SIGNATURES:
            for count in BATCHES:
                request = request_of(signature, inputs(version, signature, count))
                version.predict(request)
                for threads in THREADS:
                    total, latencies = measure(
                        lambda request=request: version.predict(request), threads, options.seconds
                    )
                    rate, (median, most) = len(latencies) / total, np.percentile(latencies, [50, 95]) * 1000
                    cells = [f'{rate:,.1f}', f'{rate * count:,.1f}', f'{median:,.1f} ms', f'{most:,.1f} ms']
                    print(f'| `{signature}` | {count} | {threads} | {" | ".join(cells)} |', flush=True)


def digits(directory):
    """Exports the digits preset, untrained, and returns the version folder."""
    config = parsing.configuration_of([]).replace(precision='float32')
    return export.write(build_model(config), config, 0, os.path.join(directory, 'digits'), 1024)['SavedModel']


def inputs(version, signature, count):
    """A request for some images, all alike."""
    if signature == 'sample':
        return {'seed': np.int32([0, 3]), 'num_samples': np.int32(count)}
    shape = [size.size for size in version.signatures[signature].inputs['images'].tensor_shape.dim[1:]]
    images = np.random.default_rng(0).normal(size=[count, *shape]).astype(np.float32)
    return {'images': images, 'level': np.zeros(count, np.int32)}


def measure(function, threads, seconds):
    """How long it took to call a function again and again from some threads, and how long each call took, in
    seconds."""

    def work(_):
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
