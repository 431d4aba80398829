"""The models of `model_server`: finds versions in directories, loads them, and answers requests."""

import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_status_pb2 as status_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

DEFAULT_SIGNATURE = 'serving_default'
_WARM_UP = pathlib.PurePath('assets.extra', 'tf_serving_warmup_requests')


def request_of(
    signature: str, values: Mapping[str, Any], model: str = 'digits'
) -> predict_pb2.PredictRequest:
    """Returns the gRPC request that runs a signature of a model.

    Args:
      signature: name of the signature.
      values: {name of an input: array}.
      model: the name of the model.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in values.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def warm_up_requests(path: pathlib.Path) -> Iterator[predict_pb2.PredictRequest]:
    """Yields the warm-up requests that are stored in a version directory, if any.

    Args:
      path: the version directory.
    """
    if (path / _WARM_UP).exists():
        for record in tf.io.tf_record_iterator(str(path / _WARM_UP)):
            yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request


class Refused(Exception):
    """Raised for a wrong request; the server answers the client with its code and message.

    Args:
      code: name of the gRPC status code, such as 'NOT_FOUND'.
      message: message for the client.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Version:
    """A loaded version of a model, ready to answer requests.

    Args:
      path: the version directory.
      warm_up: whether the constructor runs the warm-up requests that are stored in the version directory.
    """

    def __init__(self, path: pathlib.Path, warm_up: bool = True) -> None:
        self.session = tf.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            signatures = tf.saved_model.load(self.session, ['serve'], str(path)).signature_def
        self.signatures = {
            name: signature for name, signature in signatures.items() if not name.startswith('__')
        }
        self.lock = threading.Lock()
        self.callables: dict[Any, Callable[..., Any]] = {}
        self.warmed_up = 0
        for request in warm_up_requests(path) if warm_up else ():
            self.predict(request)
            self.warmed_up += 1

    def signature(self, name: str) -> Any:
        """Returns the `SignatureDef` of a signature.

        Args:
          name: name of the signature; '': the default one.

        Raises:
          Refused: the version has no signature of this name.
        """
        if (name or DEFAULT_SIGNATURE) not in self.signatures:
            raise Refused('FAILED_PRECONDITION', f'Serving signature key "{name}" not found.')
        return self.signatures[name or DEFAULT_SIGNATURE]

    def predict(self, request: predict_pb2.PredictRequest) -> dict[str, np.ndarray]:
        """Runs the signature that a request names.

        Args:
          request: names the signature, and holds its inputs.

        Returns:
          {name of an output: array}.

        Raises:
          Refused: the request is wrong.
        """
        signature = self.signature(request.model_spec.signature_name)
        if request.inputs.keys() != signature.inputs.keys():
            extra = request.inputs.keys() - signature.inputs.keys()
            missing = signature.inputs.keys() - request.inputs.keys()
            raise Refused(
                'INVALID_ARGUMENT',
                f'input size does not match signature. Sent extra: {extra}. Missing but required: {missing}.',
            )
        wanted = list(request.output_filter) or sorted(signature.outputs)
        if unknown := [name for name in wanted if name not in signature.outputs]:
            raise Refused('INVALID_ARGUMENT', f'output tensor alias not found in signature: {unknown[0]}')
        names = sorted(request.inputs)
        feeds = [_array(request.inputs[name], signature.inputs[name], name) for name in names]
        run = self._callable(
            tuple(signature.inputs[name].name for name in names),
            tuple(signature.outputs[name].name for name in wanted),
        )
        try:
            return dict(zip(wanted, run(*feeds), strict=True))
        except tf.errors.OpError as error:
            code = next(code.name for code in grpc.StatusCode if code.value[0] == error.error_code)
            raise Refused(code, error.message) from error

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., Any]:
        """Returns a function that runs a part of the graph without comparing shapes, as C++ servers do."""
        with self.lock:
            if (feeds, fetches) not in self.callables:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                self.callables[feeds, fetches] = self.session._make_callable_from_options(options)
            return self.callables[feeds, fetches]


def _array(tensor: Any, info: Any, name: str) -> np.ndarray:
    """Returns the array of a `TensorProto`; raises Refused if it is damaged or not of the type of `info`."""
    if tensor.dtype != info.dtype:
        raise Refused('INVALID_ARGUMENT', f'{name} has another type than the signature')
    try:
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError) as error:
        raise Refused('INVALID_ARGUMENT', f'tensor parsing error: {name}: {error}') from error


class Model:
    """The loaded versions of a model, which `poll` updates from its directory.

    Args:
      config: TensorFlow Serving's `ModelConfig`: name of the model, its directory, which versions to serve.
    """

    def __init__(self, config: model_server_config_pb2.ModelConfig) -> None:
        self.config = config
        self.versions: dict[int, Version] = {}
        self.failures: dict[int, str] = {}

    def poll(self) -> None:
        """Loads the wanted versions that are new in the directory, and then drops all unwanted ones.

        Versions are wanted if `config` names them; if it names none, only the newest version is wanted. As
        long as no wanted version is loaded, nothing is dropped, so that the model can still answer. A version
        that cannot be loaded is not tried again.
        """
        base = pathlib.Path(self.config.base_path)
        wanted = self._wanted(base)
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

    def _wanted(self, base: pathlib.Path) -> set[int]:
        """Returns the versions to serve: those that the policy names, or the newest."""
        paths = base.iterdir() if base.is_dir() else ()
        present = {int(path.name) for path in paths if path.name.isdecimal()}
        policy = self.config.model_version_policy
        if policy.HasField('specific'):
            return present & set(policy.specific.versions)
        return {max(present)} if present else set()

    def find(self, spec: model_pb2.ModelSpec) -> Version:
        """Returns the version that a request asks for.

        Args:
          spec: the part of the request that names a version by number or label; without either, the newest
            loaded version is returned.

        Raises:
          Refused: this version is not loaded, or there is no such label.
        """
        number = max(self.versions, default=None)
        if spec.version_label:
            if spec.version_label not in self.config.version_labels:
                raise Refused(
                    'INVALID_ARGUMENT', f'Unrecognized servable version label: {spec.version_label}'
                )
            number = self.config.version_labels[spec.version_label]
        elif spec.HasField('version'):
            number = spec.version.value
        if number is None or number not in self.versions:
            named = 'Latest' if number is None else number
            raise Refused('NOT_FOUND', f'Servable not found for request: {named}({spec.name})')
        return self.versions[number]

    def status(self, number: int | None = None) -> status_pb2.GetModelStatusResponse:
        """Returns the answer to a client who asks for the status of versions: loaded, or failed to load.

        Args:
          number: the version; None: all versions, newest first.

        Raises:
          Refused: the server has never tried to load this version, or has dropped it.
        """
        response = status_pb2.GetModelStatusResponse()
        known = self.versions.keys() | self.failures.keys()
        for version in sorted(known if number is None else [number], reverse=True):
            if version not in known:
                raise Refused('NOT_FOUND', f'Could not find version {version} of model {self.config.name}')
            entry = response.model_version_status.add(version=version)
            entry.state = entry.AVAILABLE if version in self.versions else entry.END
            entry.status.error_message = self.failures.get(version, '')
            entry.status.error_code = 2 if version in self.failures else 0
        return response


class Server:
    """All models of the server, by name.

    Args:
      configs: for each model, TensorFlow Serving's `ModelConfig`: its name, its directory, and which versions
        to serve.

    Raises:
      SystemExit: the directory of a model is missing.
    """

    def __init__(self, configs: Iterable[model_server_config_pb2.ModelConfig]) -> None:
        self.models = {}
        for config in configs:
            if not os.path.isdir(config.base_path):
                raise SystemExit(f'Could not find base path {config.base_path} for servable {config.name}')
            self.models[config.name] = Model(config)

    def poll(self, seconds: float) -> None:
        """Looks for new versions of all models, again and again.

        Args:
          seconds: pause between two rounds; 0: return after the first. Otherwise, the method never returns.
        """
        while True:
            for model in self.models.values():
                model.poll()
            if not seconds:
                return
            time.sleep(seconds)

    def model(self, name: str) -> Model:
        """Returns the model of this name; raises Refused if the server has none."""
        if name not in self.models:
            raise Refused('NOT_FOUND', f'Could not find any versions of model {name}')
        return self.models[name]

    def predict(self, request: predict_pb2.PredictRequest) -> dict[str, np.ndarray]:
        """Runs the model, version and signature that a request names.

        Args:
          request: names model, version and signature, and holds the inputs.

        Returns:
          {name of an output: array}.

        Raises:
          Refused: the request is wrong.
        """
        return self.model(request.model_spec.name).find(request.model_spec).predict(request)
