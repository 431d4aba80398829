"""A client of a served model, over REST or gRPC: copy it. It needs `requests`, or `grpcio` and `tensorflow-serving-api`; not drl_tf.

    python docs/serving/client.py sample --num=16 --out=samples      # samples/00.png, samples/01.png, ..
    python docs/serving/client.py sample --labels=3,3,8 --guidance=0.5 --out=samples
    python docs/serving/client.py energy samples/*.png               # a number for each, lower is likelier
    python docs/serving/client.py status

REST at http://localhost:8501 unless --rest=URL says otherwise; --grpc=localhost:8500 takes gRPC.
"""

import argparse
import base64
import json
import pathlib
import sys

_FLOATS, _FILES = ('guidance',), ('images_bytes',)


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
        response = requests.post(f'{_model_url(url, model, label)}:predict', data=json.dumps(body), timeout=300)
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
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name, request.model_spec.version_label = model, signature, label
    for name, value in inputs.items():
        dtype = tf.float32 if name in _FLOATS else tf.string if name in _FILES else tf.int32
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
    with grpc.insecure_channel(address, options=[('grpc.max_receive_message_length', -1)]) as channel:
        try:
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=300)
        except grpc.RpcError as error:
            raise ServerError(f'{error.code().name}: {error.details()}') from error
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def _ask(options, signature, inputs):
    """{output: values} of a signature, whichever way."""
    if options.grpc:
        outputs = predict_grpc(options.grpc, options.model, signature, inputs, options.version_label)
        return {name: value.tolist() for name, value in outputs.items()}
    outputs = predict_rest(options.rest, options.model, signature, inputs, options.version_label)
    return outputs if isinstance(outputs, dict) else {'images_bytes': outputs}


def _sample(options):
    seed, labels = [options.seed, 3], [int(label) for label in options.labels.split(',') if label]
    if labels:
        outputs = _ask(options, 'sample_class_bytes', {'seed': seed, 'labels': labels, 'guidance': options.guidance})
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
    for version in status_rest(options.rest, options.model, options.version_label)['model_version_status']:
        print(f'version {version["version"]}: {version["state"]} {version["status"].get("error_message", "")}'.rstrip())


def main():
    """Runs a command line; what the server refuses is one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = {'sample': _sample, 'energy': _energy, 'status': _status}
    parser.add_argument('command', choices=commands)
    parser.add_argument('files', nargs='*', help='PNG files of the size of the model, for energy')
    parser.add_argument('--rest', default='http://localhost:8501')
    parser.add_argument('--grpc', default='', help='such as localhost:8500')
    parser.add_argument('--model', default='digits')
    parser.add_argument('--version_label', default='')
    parser.add_argument('--num', type=int, default=16)
    parser.add_argument('--labels', default='', help='a class from 0 for each image, comma-separated; -1 is no class')
    parser.add_argument('--guidance', type=float, default=0.0)
    parser.add_argument('--seed', type=int, default=0, help='image i depends on (seed, i) alone')
    parser.add_argument('--level', type=int, default=0)
    parser.add_argument('--out', default='samples')
    options = parser.parse_args()
    try:
        commands[options.command](options)
    except (ServerError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
