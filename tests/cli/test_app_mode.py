"""--mode=app on the command line: which model it serves, and what it refuses."""

import importlib.util
import socket

from helpers.tiny import refused

from drl_tf.app import server
from drl_tf.cli.command_options import Command, completed
from drl_tf.cli.main import main


def test_the_app_needs_no_argument(monkeypatch, capsys):
    served = started(monkeypatch, '--port=7999')
    [(directory, port, places)] = served
    assert directory.endswith('saved_models/digits/1') and port == 7999
    assert places == {'data_dir': '', 'manual_dir': '', 'labels_file': ''}


def started(monkeypatch, *options):
    """What the app would serve: a list of (directory, port, places of the data)."""
    served = []
    monkeypatch.setattr(server, 'serve', lambda *arguments: served.append(arguments))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    assert main(['run.py', '--mode=app', *options]) == 0
    return served


def test_the_app_is_told_where_the_training_images_are(monkeypatch, tmp_path):
    """An exported model does not know the place, where expressions with | (or) read images."""
    [(_, _, places)] = started(monkeypatch, '--port=7999', f'--data_dir={tmp_path}')
    assert places['data_dir'] == str(tmp_path)


def test_a_workdir_beside_another_model_is_not_ignored(capsys, tmp_path):
    (tmp_path / 'config.json').touch()
    line = refused(capsys, '--mode=app', '--model=digits', f'--workdir={tmp_path}')
    assert f'--workdir={tmp_path} holds a run of its own' in line


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
