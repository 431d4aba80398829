"""The models of the stand-in for TensorFlow Serving: their versions, loaded through the v1 Session and polled
for."""

import os
import pathlib
import threading
import time

import grpc
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_status_pb2 as status_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

DEFAULT_SIGNATURE = 'serving_default'
_WARM_UP = pathlib.PurePath('assets.extra', 'tf_serving_warmup_requests')


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
