"""Measures how long an exported model takes to load and to answer; prints the seconds as JSON.

    python -m drl_tf.tools.bench.child_export VERSION_FOLDER

`drl_tf.tools.bench` starts this program, which needs the package `tensorflow-serving-api`.
"""

import json
import os
import pathlib
import sys
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


def main(path: str) -> None:
    """Times an exported model, and prints {name: seconds} as a line of JSON.

    It times the imports; loading the model without its warm-up requests; the first and the second answer of
    the signatures 'energy' and 'sample'; and loading the model again, with its warm-up requests.

    Args:
      path: version directory of the exported model.
    """
    begin = time.perf_counter()
    from drl_tf.tools.model_server_models import Version, request_of
    from drl_tf.tools.serving_speed import SIGNATURES, inputs

    seconds = {'imports': time.perf_counter() - begin}
    begin = time.perf_counter()
    version = Version(pathlib.Path(path), warm_up=False)
    seconds['loading'] = time.perf_counter() - begin
    for signature in SIGNATURES:
        request = request_of(signature, inputs(version, signature, 1))
        for name in ('first', 'second'):
            begin = time.perf_counter()
            version.predict(request)
            seconds[f'{name} answer of {signature}'] = time.perf_counter() - begin
    begin = time.perf_counter()
    version = Version(pathlib.Path(path))
    seconds['loading again, with its warm-up requests'] = time.perf_counter() - begin
    print(json.dumps(seconds))


if __name__ == '__main__':
    main(sys.argv[1])
