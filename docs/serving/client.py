"""A client of a served model, over REST or gRPC: copy it.

It needs `requests`, or `grpcio` and `tensorflow-serving-api`; not drl_tf.

    python docs/serving/client.py sample --num=16 --out=samples      # samples/00.png, samples/01.png, ..
    python docs/serving/client.py sample --labels=3,3,8 --guidance=0.5 --out=samples
    python docs/serving/client.py energy samples/*.png               # a number for each, lower is likelier
    python docs/serving/client.py status                             # the versions that are served

REST at http://localhost:8501 unless --rest=URL says otherwise; --grpc=localhost:8500 takes gRPC.
"""

import argparse
import base64
import json
import numbers
import pathlib
import sys

_FLOATS, _FILES = ('guidance', 'images'), ('images_bytes',)


class ServerError(Exception):
    """What the server, or the way to it, said."""


def predict_rest(url, model, signature, inputs, label=''):
    """Asks over REST.

    Args:
      url: such as 'http://localhost:8501'.
      model: the name that it is served under.
      signature: such as 'sample_bytes'.
      inputs: {name: number, or nested list of numbers, or list of bytes}.
      label: a version label, such as 'stable'; the newest version where empty.

    Returns:
      {output: nested list of numbers, or list of bytes}, or, of a signature with one output, the list alone.
    """
    import requests

    body = {'signature_name': signature, 'inputs': {name: _to_json(value) for name, value in inputs.items()}}
    try:
        response = requests.post(
            f'{_model_url(url, model, label)}:predict', data=json.dumps(body), timeout=300
        )
    except requests.RequestException as error:
        raise ServerError(f'{url} does not answer: {error}') from error
    return _from_json(_checked(response)['outputs'])


def status_rest(url, model, label=''):
    """The versions of a model and their states, as the server gives them."""
    import requests

    try:
        return _checked(requests.get(_model_url(url, model, label), timeout=60))
    except requests.RequestException as error:
        raise ServerError(f'{url} does not answer: {error}') from error


def _model_url(url, model, label):
    return f'{url}/v1/models/{model}' + (f'/labels/{label}' if label else '')


def _checked(response):
    if not response.ok:
        raise ServerError(f'{response.status_code}: {response.text[:500]}')
    return response.json()


def _to_json(value):
    if isinstance(value, bytes):
        return {'b64': base64.b64encode(value).decode()}
    return [_to_json(part) for part in value] if isinstance(value, list) else value


def _from_json(value):
    if isinstance(value, dict) and value.keys() == {'b64'}:
        return base64.b64decode(value['b64'])
    if isinstance(value, dict):
        return {name: _from_json(part) for name, part in value.items()}
    return [_from_json(part) for part in value] if isinstance(value, list) else value


def predict_grpc(address, model, signature, inputs, label=''):
    """As `predict_rest`, over gRPC; always {output: NumPy array}."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name, request.model_spec.version_label = (
        model,
        signature,
        label,
    )
    for name, value in inputs.items():
        dtype = tf.float32 if name in _FLOATS else tf.string if name in _FILES else tf.int32
        if dtype == tf.int32:
            _check_int32(name, value)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
    response = _call(address, prediction_service_pb2_grpc.PredictionServiceStub, 'Predict', request)
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def status_grpc(address, model, label=''):
    """As `status_rest`, over gRPC."""
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name, request.model_spec.version_label = model, label
    response = _call(address, model_service_pb2_grpc.ModelServiceStub, 'GetModelStatus', request)
    name_of = get_model_status_pb2.ModelVersionStatus.State.Name
    versions = [
        (found.version, name_of(found.state), found.status.error_message)
        for found in response.model_version_status
    ]
    return {
        'model_version_status': [
            {'version': v, 'state': s, 'status': {'error_message': e}} for v, s, e in versions
        ]
    }


def _check_int32(name, value):
    """Raises ServerError for what a tensor of int32 would not hold as it is."""
    for number in value if isinstance(value, list) else [value]:
        if not isinstance(number, numbers.Integral) or not -(2**31) <= number < 2**31:
            raise ServerError(f'{name}: {number} is no whole number from {-(2**31)} to {2**31 - 1}')


def _call(address, stub, method, request):
    """What a service of the server answers."""
    import grpc

    with grpc.insecure_channel(address, options=[('grpc.max_receive_message_length', -1)]) as channel:
        try:
            return getattr(stub(channel), method)(request, timeout=300)
        except grpc.RpcError as error:
            raise ServerError(f'{error.code().name}: {error.details()}') from error


def _ask(options, signature, inputs):
    """{output: values} of a signature, whichever way."""
    if options.grpc:
        outputs = predict_grpc(options.grpc, options.model, signature, inputs, options.version_label)
        return {name: value.tolist() for name, value in outputs.items()}
    outputs = predict_rest(options.rest, options.model, signature, inputs, options.version_label)
    return outputs if isinstance(outputs, dict) else {'images_bytes': outputs}


def _sample(options):
    seed = [options.seed, 3]
    if options.labels:
        outputs = _ask(
            options,
            'sample_class_bytes',
            {'seed': seed, 'labels': options.labels, 'guidance': options.guidance},
        )
    else:
        outputs = _ask(options, 'sample_bytes', {'seed': seed, 'num_samples': options.num})
    directory = pathlib.Path(options.out)
    directory.mkdir(parents=True, exist_ok=True)
    for index, content in enumerate(outputs['images_bytes']):
        (directory / f'{index:02d}.png').write_bytes(content)
    print(f'{len(outputs["images_bytes"])} images in {directory}')


def _energy(options):
    files = [pathlib.Path(path).read_bytes() for path in options.files]
    outputs = _ask(options, 'energy_bytes', {'images_bytes': files, 'level': [options.level] * len(files)})
    for path, energy in zip(options.files, outputs['energy'], strict=True):
        print(f'{path}: {energy:.6g}')


def _status(options):
    ask, server = (status_grpc, options.grpc) if options.grpc else (status_rest, options.rest)
    for version in ask(server, options.model, options.version_label)['model_version_status']:
        print(
            f'version {version["version"]}: {version["state"]} '
            f'{version["status"].get("error_message", "")}'.rstrip()
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f'error: {message}', file=sys.stderr)
        sys.exit(2)


def _labels(text):
    try:
        return [int(label) for label in text.split(',')]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text} must be whole numbers, comma-separated') from error


_COMMANDS = {'sample': _sample, 'energy': _energy, 'status': _status}
_READ_BY = {
    'num': 'sample',
    'labels': 'sample',
    'guidance': 'sample',
    'seed': 'sample',
    'out': 'sample',
    'files': 'energy',
    'level': 'energy',
}
_DEFAULTS = {
    'rest': 'http://localhost:8501',
    'num': 16,
    'guidance': 0.0,
    'seed': 0,
    'level': 0,
    'out': 'samples',
}


def _options():
    """The command line; what the command would not read is an error."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', choices=_COMMANDS)
    parser.add_argument('files', nargs='*', help='PNG files of the size of the model, for energy')
    parser.add_argument('--rest')
    parser.add_argument('--grpc', default='', help='such as localhost:8500')
    parser.add_argument('--model', default='digits')
    parser.add_argument('--version_label', default='')
    parser.add_argument('--num', type=int, help='images to sample, 16 unless --labels says how many')
    parser.add_argument(
        '--labels', type=_labels, help='a class from 0 for each image, comma-separated; -1 is no class'
    )
    parser.add_argument('--guidance', type=float, help='w of the --labels, -1 to 20')
    parser.add_argument('--seed', type=int, help='image i depends on (seed, i) alone')
    parser.add_argument('--level', type=int)
    parser.add_argument('--out')
    options = parser.parse_intermixed_args()
    given = {name for name, value in vars(options).items() if value not in (None, '', [])}
    for name in sorted(name for name in given & _READ_BY.keys() if _READ_BY[name] != options.command):
        parser.error(
            f'{"files are" if name == "files" else f"--{name} is"} for {_READ_BY[name]}, '
            f'not for {options.command}'
        )
    if options.command == 'energy' and not options.files:
        parser.error('energy needs PNG files')
    for name, other in (('num', 'labels'), ('rest', 'grpc')):
        if {name, other} <= given:
            parser.error(f'--{name} and --{other}: give one of them')
    if 'guidance' in given and not options.labels:
        parser.error('--guidance needs --labels')
    return argparse.Namespace(
        **{name: _DEFAULTS.get(name) if value is None else value for name, value in vars(options).items()}
    )


def main():
    """Runs a command line; what it or the server refuses is one line."""
    options = _options()
    try:
        _COMMANDS[options.command](options)
    except (ServerError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
