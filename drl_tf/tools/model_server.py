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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import tensorflow.compat.v1 as tf
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from drl_tf.tools import model_server_json
from drl_tf.tools.model_server_models import Refused, Server

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
