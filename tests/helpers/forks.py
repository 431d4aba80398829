"""Processes of Python in which TensorFlow is imported already: forks of a server, which imports it once.

Each has modules and devices of its own, as a new process has. The server loads no module of the tests or of
the package, so that a process without drl_tf can be had as well.
"""

import contextlib
import functools
import json
import os
import pathlib
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).parent.parent.parent


class Process:
    """A process that was started by `start`, with what is used of subprocess.Popen."""

    def __init__(self, connection, arguments):
        self.args = arguments
        self.returncode = None
        self._connection = connection
        self._lines = connection.makefile('r', encoding='utf-8')
        self.pid = int(self._lines.readline())

    def poll(self):
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._end()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _end(self):
        self.returncode = int(self._lines.readline())
        self._lines.close()
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()


def start(arguments, stdout, stderr, cwd=ROOT, env=None):
    """Starts Python with some arguments: [-I] and -c CODE, -m MODULE or a script, and what these take.

    Args:
      arguments: the arguments of Python.
      stdout, stderr: paths of files that take its output, which are emptied; they may be the same.
      cwd: its working directory.
      env: its environment; by default that of this process.
    """
    for path in (stdout, stderr):
        open(path, 'w').close()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_server())
    wanted = {
        'arguments': list(map(str, arguments)),
        'files': [str(stdout), str(stderr)],
        'cwd': str(cwd),
        'env': dict(os.environ if env is None else env),
    }
    connection.sendall(json.dumps(wanted).encode() + b'\n')
    return Process(connection, arguments)


def run(*arguments, timeout=300, **options):
    """Runs Python to its end; returns what subprocess.run does, with its output as text."""
    with tempfile.TemporaryDirectory() as directory:
        files = [pathlib.Path(directory, name) for name in ('out', 'err')]
        process = start(arguments, *files, **options)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, *(file.read_text('utf-8') for file in files))


@functools.cache
def _server():
    """The address of the server of this process, which ends with it."""
    directory = pathlib.Path(tempfile.mkdtemp())
    address = str(directory / 'socket')
    with open(directory / 'err', 'w') as err:
        process = subprocess.Popen(
            [sys.executable, '-I', __file__, address], stdin=subprocess.PIPE, stderr=err, cwd='/'
        )
    while not os.path.exists(address):
        assert process.poll() is None, (directory / 'err').read_text()
        time.sleep(0.05)
    return address


def serve(address):
    """Forks a process for each connection, until stdin ends."""
    import gc

    import tensorflow  # noqa: F401

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f'{address}.new')
    listener.listen(64)
    os.rename(f'{address}.new', address)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            break
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(0)
            _supervise(connection)
        connection.close()
    shutil.rmtree(os.path.dirname(address))


def _reap(*_):
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _supervise(connection):
    """Starts what is wanted, says its process id and, in the end, its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    lines = connection.makefile('r', encoding='utf-8')
    wanted = json.loads(lines.readline())
    child = os.fork()
    if child == 0:
        lines.close()
        connection.close()
        _become(**wanted)
    connection.sendall(f'{child}\n'.encode())
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f'{os.waitstatus_to_exitcode(status)}\n'.encode())
    os._exit(0)


def _become(arguments, files, cwd, env):
    """Is the process that was asked for, to its end."""
    os.open(os.devnull, os.O_RDONLY)  # Descriptor 0, which is free.
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        _execute(arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _execute(arguments):
    isolated = arguments[0] == '-I'
    way, *words = arguments[isolated:]
    if not isolated:
        sys.path[:0] = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
    sys.modules.pop('__main__', None)
    if way == '-c':
        if not isolated:
            sys.path.insert(0, '')
        sys.argv = [way, *words[1:]]
        module = type(sys)('__main__')
        sys.modules['__main__'] = module
        exec(compile(words[0], '<string>', 'exec'), vars(module))
    elif way == '-m':
        sys.path.insert(0, os.getcwd())
        sys.argv = words
        runpy.run_module(words[0], run_name='__main__', alter_sys=True)
    else:
        if not isolated:
            sys.path.insert(0, os.path.dirname(os.path.abspath(way)))
        sys.argv = [way, *words]
        runpy.run_path(way, run_name='__main__')


if __name__ == '__main__':
    serve(sys.argv[1])
