"""A stand-in for `tensorflow_model_server`, for tests: it speaks the protocol, and is not TensorFlow Serving.

    python -m drl_tf.tools.model_server --model_name=digits --model_base_path=DIR --port=8500
    --rest_api_port=8501

It loads versions through the v1 Session loader, feeds tensors without holding them against the shapes of a
signature, replays warm-up requests, polls for new versions, keeps the version it has until a newer one is
ready, and gives version labels, as TensorFlow Serving does. It answers Predict and GetModelStatus over gRPC,
and `:predict` and the status of models over REST, with TensorFlow Serving's codes. Where a base path is
missing it ends with TensorFlow Serving's message, after which that waits without opening. It has no batching,
no time limits, no retries of a load, and no Classify, Regress or metadata.
"""

import argparse
import concurrent.futures
import functools
import os
import pathlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import tensorflow.compat.v1 as tf
from google.protobuf import json_format, text_format
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_status_pb2 as status_pb2
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from drl_tf.tools import model_server_json

DEFAULT_SIGNATURE = 'serving_default'
_WARM_UP = pathlib.PurePath('assets.extra', 'tf_serving_warmup_requests')
_PATH = re.compile(
    r'/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?P<verb>:predict)?'
)
_HTTP = {
    'INVALID_ARGUMENT': 400,
    'FAILED_PRECONDITION': 400,
    'OUT_OF_RANGE': 400,
    'NOT_FOUND': 404,
    'RESOURCE_EXHAUSTED': 429,
}


def request_of(signature, values, model='digits'):
    """A `PredictRequest` of a signature, {input: array}."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in values.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


class Refused(Exception):
    """A request that cannot be answered: a gRPC code by its name, and a message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Version:
    """A version that is loaded, its warm-up requests answered."""

    def __init__(self, path):
        self.session = tf.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            signatures = tf.saved_model.load(self.session, ['serve'], str(path)).signature_def
        self.signatures = {
            name: signature for name, signature in signatures.items() if not name.startswith('__')
        }
        self.lock, self.callables = threading.Lock(), {}
        self.warmed_up = 0
        if (path / _WARM_UP).exists():
            for record in tf.io.tf_record_iterator(str(path / _WARM_UP)):
                self.predict(prediction_log_pb2.PredictionLog.FromString(record).predict_log.request)
                self.warmed_up += 1

    def signature(self, name):
        if (name or DEFAULT_SIGNATURE) not in self.signatures:
            raise Refused('FAILED_PRECONDITION', f'Serving signature key "{name}" not found.')
        return self.signatures[name or DEFAULT_SIGNATURE]

    def predict(self, request):
        """{output: array} of a `PredictRequest`."""
        signature = self.signature(request.model_spec.signature_name)
        if request.inputs.keys() != signature.inputs.keys():
            extra, missing = (
                request.inputs.keys() - signature.inputs.keys(),
                signature.inputs.keys() - request.inputs.keys(),
            )
            raise Refused(
                'INVALID_ARGUMENT',
                f'input size does not match signature. Sent extra: {extra}. Missing but required: {missing}.',
            )
        wanted = list(request.output_filter) or sorted(signature.outputs)
        if unknown := [name for name in wanted if name not in signature.outputs]:
            raise Refused('INVALID_ARGUMENT', f'output tensor alias not found in signature: {unknown[0]}')
        names, feeds = sorted(request.inputs), []
        for name in names:
            if request.inputs[name].dtype != signature.inputs[name].dtype:
                raise Refused('INVALID_ARGUMENT', f'{name} has another type than the signature')
            try:
                feeds.append(tf.make_ndarray(request.inputs[name]))
            except (ValueError, TypeError) as error:
                raise Refused('INVALID_ARGUMENT', f'tensor parsing error: {name}: {error}') from error
        run = self._callable(
            tuple(signature.inputs[name].name for name in names),
            tuple(signature.outputs[name].name for name in wanted),
        )
        try:
            return dict(zip(wanted, run(*feeds), strict=True))
        except tf.errors.OpError as error:
            code = next(code.name for code in grpc.StatusCode if code.value[0] == error.error_code)
            raise Refused(code, error.message) from error

    def _callable(self, feeds, fetches):
        """What runs a part of the graph, as C++ servers do: no shape is compared."""
        with self.lock:
            if (feeds, fetches) not in self.callables:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                self.callables[feeds, fetches] = self.session._make_callable_from_options(options)
            return self.callables[feeds, fetches]


class Model:
    """The versions of a model, kept up with its directory."""

    def __init__(self, config):
        self.config, self.versions, self.failures = config, {}, {}

    def poll(self):
        """Loads what is wanted and not loaded; then lets go of what is not wanted."""
        base = pathlib.Path(self.config.base_path)
        present = (
            {int(path.name) for path in base.iterdir() if path.name.isdecimal()} if base.is_dir() else set()
        )
        policy = self.config.model_version_policy
        wanted = (
            present & set(policy.specific.versions)
            if policy.HasField('specific')
            else {*sorted(present)[-1:]}
        )
        for number in sorted(wanted - self.versions.keys() - self.failures.keys()):
            try:
                self.versions = {**self.versions, number: Version(base / str(number))}
                print(
                    f'loaded {self.config.name} {number}, {self.versions[number].warmed_up} warm-up requests',
                    flush=True,
                )
            except Exception as error:
                self.failures[number] = f'{type(error).__name__}: {error}'
                print(f'failed to load {self.config.name} {number}: {self.failures[number]}', flush=True)
        if wanted & self.versions.keys():
            self.versions = {number: version for number, version in self.versions.items() if number in wanted}

    def find(self, spec):
        """The version that a `ModelSpec` means."""
        number = max(self.versions, default=None)
        if spec.version_label:
            if spec.version_label not in self.config.version_labels:
                raise Refused(
                    'INVALID_ARGUMENT', f'Unrecognized servable version label: {spec.version_label}'
                )
            number = self.config.version_labels[spec.version_label]
        elif spec.HasField('version'):
            number = spec.version.value
        if number not in self.versions:
            raise Refused(
                'NOT_FOUND',
                f'Servable not found for request: {"Latest" if number is None else number}({spec.name})',
            )
        return self.versions[number]

    def status(self, number=None):
        """A `GetModelStatusResponse`."""
        response = status_pb2.GetModelStatusResponse()
        for version in sorted(
            (self.versions | self.failures).keys() if number is None else [number], reverse=True
        ):
            if version not in self.versions | self.failures:
                raise Refused('NOT_FOUND', f'Could not find version {version} of model {self.config.name}')
            entry = response.model_version_status.add(version=version)
            entry.state = entry.AVAILABLE if version in self.versions else entry.END
            entry.status.error_message = self.failures.get(version, '')
            entry.status.error_code = 2 if version in self.failures else 0
        return response


class Server:
    """Models by name."""

    def __init__(self, configs):
        for config in configs:
            if not os.path.isdir(config.base_path):
                raise SystemExit(f'Could not find base path {config.base_path} for servable {config.name}')
        self.models = {config.name: Model(config) for config in configs}

    def poll(self, seconds):
        while True:
            for model in self.models.values():
                model.poll()
            if not seconds:
                return
            time.sleep(seconds)

    def model(self, name):
        if name not in self.models:
            raise Refused('NOT_FOUND', f'Could not find any versions of model {name}')
        return self.models[name]

    def predict(self, request):
        return self.model(request.model_spec.name).find(request.model_spec).predict(request)


class Grpc(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    def __init__(self, server):
        self.server = server

    def Predict(self, request, context):
        try:
            outputs = self.server.predict(request)
        except Refused as error:
            context.abort(getattr(grpc.StatusCode, error.code), str(error))
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelStatus(self, request, context):
        try:
            spec = request.model_spec
            return self.server.model(spec.name).status(
                spec.version.value if spec.HasField('version') else None
            )
        except Refused as error:
            context.abort(getattr(grpc.StatusCode, error.code), str(error))


class Rest(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def __init__(self, server, *args):
        self.serving = server
        super().__init__(*args)

    def do_GET(self):
        self.answer(b'')

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get('Content-Length', 0))))

    def answer(self, body):
        try:
            code, text = 200, self.answered(body)
        except Refused as error:
            code, text = _HTTP.get(error.code, 500), model_server_json.error(str(error))
        self.send_response(code)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def answered(self, body):
        found = _PATH.fullmatch(self.path)
        if not found or bool(found['verb']) != (self.command == 'POST'):
            raise Refused('INVALID_ARGUMENT', f'Malformed request: {self.command} {self.path}')
        if not found['verb']:
            status = self.serving.model(found['name']).status(
                int(found['version']) if found['version'] else None
            )
            return json_format.MessageToJson(
                status, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
            )
        request = predict_pb2.PredictRequest()
        request.model_spec.name = found['name']
        if found['version']:
            request.model_spec.version.value = int(found['version'])
        elif found['label']:
            request.model_spec.version_label = found['label']
        version = self.serving.model(found['name']).find(request.model_spec)
        try:
            by_row = model_server_json.fill(request, body, lambda name: version.signature(name).inputs)
        except (ValueError, RecursionError) as error:
            raise Refused('INVALID_ARGUMENT', str(error)) from error
        return model_server_json.answer(version.predict(request), by_row)

    def log_message(self, *args):
        """Says nothing."""


def configs(arguments):
    """The `ModelConfig`s of the command line."""
    if arguments.model_config_file:
        text = pathlib.Path(arguments.model_config_file).read_text()
        return list(
            text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
        )
    return [
        model_server_config_pb2.ModelConfig(name=arguments.model_name, base_path=arguments.model_base_path)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name, default in {'model_name': 'default', 'model_base_path': '', 'model_config_file': ''}.items():
        parser.add_argument(f'--{name}', default=default)
    for name, default in {'port': 8500, 'rest_api_port': 8501, 'file_system_poll_wait_seconds': 1}.items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument(
        '--allow_version_labels_for_unavailable_models', default='false'
    )  # They always are here.
    arguments = parser.parse_args()
    tf.logging.set_verbosity(tf.logging.ERROR)
    server = Server(configs(arguments))
    server.poll(0)
    threading.Thread(target=server.poll, args=(arguments.file_system_poll_wait_seconds,), daemon=True).start()
    over_grpc = grpc.server(
        concurrent.futures.ThreadPoolExecutor(os.cpu_count() * 4),
        options=[('grpc.max_receive_message_length', -1)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Grpc(server), over_grpc)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Grpc(server), over_grpc)
    if not over_grpc.add_insecure_port(f'127.0.0.1:{arguments.port}'):
        raise SystemExit(f'port {arguments.port} is taken')
    over_grpc.start()
    rest = ThreadingHTTPServer(('127.0.0.1', arguments.rest_api_port), functools.partial(Rest, server))
    print('ready', flush=True)
    rest.serve_forever()


if __name__ == '__main__':
    main()
