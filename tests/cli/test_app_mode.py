"""--mode=app on the command line: which model it serves, and what it refuses."""

import importlib.util
import socket

from helpers.tiny import refused

from drl_tf.app import server
from drl_tf.cli.command_options import Command, completed
from drl_tf.cli.main import main


def test_the_app_needs_no_argument(monkeypatch, capsys):
    served = []
    monkeypatch.setattr(server, 'serve', lambda directory, port: served.append((directory, port)))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    assert main(['run.py', '--mode=app', '--port=7999']) == 0
    [(directory, port)] = served
    assert directory.endswith('saved_models/digits/1') and port == 7999


def test_a_run_or_a_model_is_kept():
    for options in ({'workdir': 'a'}, {'model': 'b'}):
        command = Command(mode=('app',), **options)
        assert completed(command) == command
    assert completed(Command()) == Command()


def test_a_missing_extra_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert refused(capsys, '--mode=app') == "error: --mode=app needs Gradio: pip install 'drl_tf[app]'"


def test_a_taken_port_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f'--port={port} cannot be used' in refused(capsys, '--mode=app', f'--port={port}')


def test_options_that_the_app_does_not_read_are_refused(capsys):
    assert '--seed is for' in refused(capsys, '--mode=app', '--seed=1')
    assert '--port is for --mode=app' in refused(capsys, '--mode=sample', '--model=digits', '--port=1')
    assert '--port' in refused(capsys, '--mode=app', '--port=0')
