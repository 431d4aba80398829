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

    It times the imports; loading the model without its warm-up requests; and the first and the second answer
    to each warm-up request. There is one for each signature.

    Args:
      path: version directory of the exported model.
    """
    begin = time.perf_counter()
    from drl_tf.tools.model_server_models import Version, warm_up_requests

    seconds = {'imports': time.perf_counter() - begin}
    version_directory = pathlib.Path(path)
    begin = time.perf_counter()
    version = Version(version_directory, warm_up=False)
    seconds['loading'] = time.perf_counter() - begin
    for request in warm_up_requests(version_directory):
        signature = request.model_spec.signature_name
        for name in ('first', 'second'):
            begin = time.perf_counter()
            version.predict(request)
            seconds[f'{name} answer of {signature}'] = time.perf_counter() - begin
    print(json.dumps(seconds))


if __name__ == '__main__':
    main(sys.argv[1])
