"""Tools that fail end with a code that says so."""

import socket
import sys

import pytest
from absl import flags
from helpers.serving import free_ports

from drl_tf.tools import kills, model_server


@pytest.mark.parametrize('option', ['port', 'rest_api_port'])
def test_a_taken_port_is_one_line_before_a_model_is_loaded(monkeypatch, tmp_path, option):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        ports = {**dict(zip(('port', 'rest_api_port'), free_ports(), strict=True)), option: port}
        words = [f'--{name}={value}' for name, value in ports.items()]
        monkeypatch.setattr(model_server.tf.logging, 'set_verbosity', lambda level: None)
        monkeypatch.setattr(model_server.Server, 'poll', lambda *_: pytest.fail('a model is loaded'))
        monkeypatch.setattr(sys, 'argv', ['model_server', *words, f'--model_base_path={tmp_path}'])
        with pytest.raises(SystemExit, match=f'^port {port} cannot be used: is it taken'):
            model_server.main()


@pytest.mark.parametrize(('survived', 'code'), [((2, 2), 0), ((2, 1), 1), ((0, 2), 1)])
def test_kills_fail_where_a_run_differs(monkeypatch, survived, code):
    counts = iter(survived)
    monkeypatch.setattr(kills, 'survivors', lambda *_: next(counts))
    values = flags.FlagValues()
    flags.DEFINE_integer('kills', 2, '', flag_values=values)
    flags.DEFINE_string('recipe', '', '', flag_values=values)
    values(['kills'])
    monkeypatch.setattr(flags, 'FLAGS', values)
    assert kills.main([]) == code
