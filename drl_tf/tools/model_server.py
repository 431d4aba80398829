"""A stand-in for TensorFlow Serving, for tests: answers the same requests over gRPC and REST.

    python -m drl_tf.tools.model_server --model_name=digits --model_base_path=DIR --port=8500
    --rest_api_port=8501

Like TensorFlow Serving, this program loads versions through the v1 Session loader, does not check the shapes
of a signature, replays warm-up requests, polls for new versions, keeps a version until a newer one is ready,
and assigns version labels. It answers Predict and GetModelStatus over gRPC, and `:predict` and the model
status over REST, with the same error codes. Unlike TensorFlow Serving, it ends if a base path is missing. It
has no batching, no time limits, no retries of a load, and no Classify, Regress or metadata.
"""

import argparse
import concurrent.futures
import functools
import os
import pathlib
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import tensorflow.compat.v1 as tf
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
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


class _Grpc(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """Answers gRPC requests as TensorFlow Serving does."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        outputs = _or_abort(context, lambda: self.server.predict(request))
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        spec = request.model_spec
        number = spec.version.value if spec.HasField('version') else None
        return _or_abort(context, lambda: self.server.model(spec.name).status(number))


def _or_abort(context: grpc.ServicerContext, function: Callable[[], Any]) -> Any:
    """Returns the result of a function; refuses the request if the function raises `Refused`."""
    try:
        return function()
    except Refused as error:
        context.abort(getattr(grpc.StatusCode, error.code), str(error))


class _Rest(BaseHTTPRequestHandler):
    """Answers REST requests as TensorFlow Serving does."""

    protocol_version = 'HTTP/1.1'

    def __init__(self, server: Server, *args: Any) -> None:
        self.serving = server
        super().__init__(*args)

    def do_GET(self) -> None:
        self.answer(b'')

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get('Content-Length', 0))))

    def answer(self, body: bytes) -> None:
        """Sends the answer to the present request.

        Args:
          body: the body of the request, JSON; b'' for GET.
        """
        code = 200
        try:
            text = self.answered(body)
        except Refused as error:
            code = _HTTP.get(error.code, 500)
            text = model_server_json.error(str(error))
        self.send_response(code)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def answered(self, body: bytes) -> str:
        """Returns the body of the answer to the present request, JSON.

        Args:
          body: the body of the request, JSON; b'' for GET.

        Raises:
          Refused: the request is wrong.
        """
        found = _PATH.fullmatch(self.path)
        if not found or bool(found['verb']) != (self.command == 'POST'):
            raise Refused('INVALID_ARGUMENT', f'Malformed request: {self.command} {self.path}')
        model = self.serving.model(found['name'])
        number = int(found['version']) if found['version'] else None
        if not found['verb']:
            return json_format.MessageToJson(
                model.status(number),
                always_print_fields_with_no_presence=True,
                preserving_proto_field_name=True,
            )
        request = predict_pb2.PredictRequest()
        request.model_spec.name = found['name']
        if number is not None:
            request.model_spec.version.value = number
        elif found['label']:
            request.model_spec.version_label = found['label']
        version = model.find(request.model_spec)
        try:
            by_row = model_server_json.fill(request, body, lambda name: version.signature(name).inputs)
        except (ValueError, RecursionError) as error:
            raise Refused('INVALID_ARGUMENT', str(error)) from error
        return model_server_json.answer(version.predict(request), by_row)

    def log_message(self, *args: Any) -> None:
        """Logs nothing."""


def _configs(arguments: argparse.Namespace) -> list[model_server_config_pb2.ModelConfig]:
    """Returns the description of each model that the options of the command line name."""
    if arguments.model_config_file:
        text = pathlib.Path(arguments.model_config_file).read_text()
        found = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        return list(found.model_config_list.config)
    return [
        model_server_config_pb2.ModelConfig(name=arguments.model_name, base_path=arguments.model_base_path)
    ]


def main() -> None:
    """Serves the models that the command line names; prints 'ready' once requests are answered.

    Runs until the process is killed. It takes some options of `tensorflow_model_server`, such as
    --model_name and --model_base_path, or --model_config_file for several models.
    """
    arguments = _parser().parse_args()
    tf.logging.set_verbosity(tf.logging.ERROR)
    server = Server(_configs(arguments))
    over_grpc = grpc.server(
        concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) * 4),
        options=[('grpc.max_receive_message_length', -1), ('grpc.so_reuseport', 0)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Grpc(server), over_grpc)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Grpc(server), over_grpc)
    place = ('127.0.0.1', arguments.rest_api_port)
    rest = ThreadingHTTPServer(place, functools.partial(_Rest, server), bind_and_activate=False)
    _bind(lambda: over_grpc.add_insecure_port(f'127.0.0.1:{arguments.port}'), arguments.port)
    _bind(rest.server_bind, arguments.rest_api_port)
    server.poll(0)
    threading.Thread(target=server.poll, args=(arguments.file_system_poll_wait_seconds,), daemon=True).start()
    over_grpc.start()
    rest.server_activate()
    print('ready', flush=True)
    rest.serve_forever()


def _bind(bind: Callable[[], Any], port: int) -> None:
    """Calls a function that binds a port; ends the process with one line if that fails."""
    try:
        bind()
    except (RuntimeError, OSError) as error:
        raise SystemExit(f'port {port} cannot be used: is it taken? Give another') from error


def _parser() -> argparse.ArgumentParser:
    """Returns the parser of the supported options of `tensorflow_model_server`."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--model_name', default='default')
    parser.add_argument('--model_base_path', default='')
    parser.add_argument('--model_config_file', default='')
    parser.add_argument('--port', type=int, default=8500)
    parser.add_argument('--rest_api_port', type=int, default=8501)
    parser.add_argument('--file_system_poll_wait_seconds', type=int, default=1)
    # Ignored: here labels are always allowed.
    parser.add_argument('--allow_version_labels_for_unavailable_models', default='false')
    return parser


if __name__ == '__main__':
    main()
