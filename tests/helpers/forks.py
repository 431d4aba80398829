"""Processes of Python in which TensorFlow is imported already: forks of a server, which imports it once.

Each has modules and devices of its own, as a new process has, and has not imported drl_tf. Variables of the
environment that TensorFlow reads when it is imported have no effect. Whatever else in the tests' process
uses multiprocessing's fork server shares it.
"""

import gc
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent.parent
_SERVER = multiprocessing.get_context('forkserver')
_SERVER.set_forkserver_preload(['tensorflow'])


class Process:
    """A process that `start` has started. It has the part of the interface of Popen that the tests use."""

    def __init__(self, arguments, *options):
        self.args = arguments
        self._process = _SERVER.Process(target=_become, args=(arguments, *options))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

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
    return Process(
        [*map(str, arguments)], [str(stdout), str(stderr)], cwd, dict(os.environ if env is None else env)
    )


def run(*arguments, timeout=300, **options):
    """Runs Python to its end; returns a `subprocess.CompletedProcess` with its output as text."""
    with tempfile.TemporaryDirectory() as directory:
        files = [pathlib.Path(directory, name) for name in ('out', 'err')]
        process = start(arguments, *files, **options)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, *(file.read_text('utf-8') for file in files))


def _become(arguments, files, cwd, env):
    """Runs in the fork: redirects its output, sets its environment, then runs the code, module or script."""
    gc.freeze()  # As `quiet_start` does: garbage collections skip the objects of TensorFlow.
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Also where these tests run in the background.
    isolated = arguments[0] == '-I'
    way, *words = arguments[1:] if isolated else arguments
    is_script = way not in ('-c', '-m')
    _forget_tests(isolated, os.path.dirname(os.path.abspath(way)) if is_script else str(cwd))
    sys.argv = [way, *words] if is_script else [way, *words[1:]]
    if way == '-c':
        sys.modules['__main__'] = type(sys)('__main__')
        exec(compile(words[0], '<string>', 'exec'), vars(sys.modules['__main__']))
    elif way == '-m':
        runpy.run_module(words[0], run_name='__main__', alter_sys=True)
    else:
        runpy.run_path(way, run_name='__main__')


def _forget_tests(isolated, first):
    """Gives a process the paths of Python, which begin with `first`, and removes the tests' modules."""
    for name in [name for name in sys.modules if name.partition('.')[0] == 'helpers']:
        del sys.modules[name]
    installed = [path for path in sys.path if path.startswith((sys.base_prefix, sys.prefix))]
    added = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
    sys.path[:] = installed if isolated else [first, *added, *installed]
