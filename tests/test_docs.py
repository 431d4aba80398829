"""The documentation: links lead somewhere, commands are ones that there are, examples run."""

import doctest
import importlib
import re
import shlex

import numpy as np
import pytest
import tensorflow as tf
from helpers.tiny import ROOT

import drl_tf
from drl_tf.cli import parsing
from drl_tf.cli.checks import check_command
from drl_tf.cli.command_options import MODES, Command, completed
from drl_tf.config import option_fields
from drl_tf.data.dataset_table import DATASETS
from drl_tf.editing import expressions
from drl_tf.serving import export
from drl_tf.serving.requests import traced
from drl_tf.serving.signatures import Export

PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]


def text(page):
    return page.read_text(encoding='utf-8')


# The modules that the reference lists.
MODULES = re.findall(r'^::: (drl_tf(?:\.[a-z_]+){2,})$', '\n'.join(map(text, PAGES)), re.MULTILINE)


def anchors(page):
    """The anchors that a page has, as GitHub and the site make them of its headings."""
    titles = re.findall(r'^#+ (.*)$', text(page), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title).strip().lower().replace(' ', '-') for title in titles}


def test_links_lead_to_files_and_headings():
    lost = []
    for page in PAGES:
        for target, anchor in re.findall(r'\]\(([^)#\s]*)(?:#([^)]*))?\)', text(page)):
            path = (page.parent / target).resolve() if target else page
            made_by_the_site = path == ROOT / 'docs' / 'reference' / 'options.md'
            if '://' in target or made_by_the_site:
                continue
            if not path.exists() or (anchor and anchor not in anchors(path)):
                lost.append(f'{page.name}: {target}#{anchor}')
    assert not lost


def test_the_readme_is_one_page_and_names_every_mode():
    lines = text(ROOT / 'README.md').splitlines()
    assert len(lines) <= 150
    assert [mode for mode in MODES if not any(line.startswith(f'| `{mode}` |') for line in lines)] == []
    command = text(ROOT / 'docs' / 'command.md')
    assert re.findall(r'^\| `(\w+)` \|', command, re.MULTILINE) == list(MODES)


def test_every_dataset_is_in_the_table():
    table = text(ROOT / 'docs' / 'datasets.md')
    for name in DATASETS:
        assert f'`{name}`' in table or name.startswith('lsun_'), name


def printed():
    """The commands `python run.py ..` of all pages, as lists of words."""
    for page in PAGES:
        for line in text(page).replace('\\\n', ' ').splitlines():
            if re.match(r' {4}(python run.py|drl-tf) ', line) and '[' not in line:
                yield shlex.split(line, comments=True)[2:]


def test_printed_options_are_ones_that_there_are():
    fields = {name for group in parsing.option_groups() for name in group.__dataclass_fields__}
    names = [word.removeprefix('--').split('=')[0] for words in printed() for word in words]
    known = {*fields, *(f'no{field}' for field in fields), 'flagfile'}
    assert len(names) > 100 and set(names) <= known


def test_printed_commands_are_accepted(tmp_path, monkeypatch):
    """By all checks that need neither the run nor the files that a command names."""
    monkeypatch.chdir(tmp_path)
    commands = [words for words in printed() if not any(re.search(r'=[A-Z]$', word) for word in words)]
    assert len(commands) > 50
    for words in commands:
        values = parsing.parse(['run.py', *words])
        command = completed(parsing.group_of(Command, values))
        option_fields.check(command)
        check_command(command, {name: values[name].value for name in values if values[name].present})
        if command.expression:
            expressions.parse(command.expression)


def run_examples(module, monkeypatch, directory):
    monkeypatch.chdir(directory)
    found = doctest.testmod(module, extraglobs={'drl_tf': drl_tf, 'np': np})
    assert not found.failed
    return found.attempted


@pytest.mark.parametrize('name', MODULES)
def test_examples_of_the_reference_run(name, monkeypatch, tmp_path):
    assert run_examples(importlib.import_module(name), monkeypatch, tmp_path) >= 1


@pytest.mark.parametrize('name', MODULES)
def test_every_public_function_and_class_of_the_reference_has_an_example(name):
    module = importlib.import_module(name)
    public = [thing for key, thing in vars(module).items() if not key.startswith('_')]
    own = [thing for thing in public if getattr(thing, '__module__', '') == module.__name__]
    assert [thing.__name__ for thing in own if '>>> ' not in (thing.__doc__ or '')] == []


class Energies(Export):
    """An export of digits with one signature."""

    def signatures(self):
        inputs = ('images', [None, 16, 16, 1], tf.float32), ('level', [None], tf.int32)
        return {'energy': traced(self.energy, inputs)}


@pytest.mark.slow
def test_examples_of_the_python_interface_run(monkeypatch, tmp_path):
    """The examples of five modules run. They share one model of a name where they leave its weights as they
    are. The example of an export writes one signature; that of docs/python.md writes all."""
    monkeypatch.setattr(export, 'Export', Energies)
    modules = {
        'api': 10,
        'runs.keras_methods': 4,
        'runs.generating': 3,
        'runs.scoring': 6,
        'editing.methods': 8,
    }
    load, loaded = drl_tf.EnergyModel.from_preset, {}

    def from_preset(name):
        if name not in loaded or loaded[name].heights is None:  # None where the weights have changed.
            loaded[name] = load(name)
        return loaded[name]

    monkeypatch.setattr(drl_tf.EnergyModel, 'from_preset', from_preset)
    for name, least in modules.items():
        module = importlib.import_module(f'drl_tf.{name}')
        assert run_examples(module, monkeypatch, tmp_path) >= least


@pytest.mark.slow
def test_the_picture_of_the_folders_has_them_all(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'docs')
    folders = importlib.import_module('folders')
    graph, floor = folders.imports(), folders.floors(folders.imports())
    assert set(graph) == {path.parent.name for path in (ROOT / 'drl_tf').glob('*/__init__.py')} | {'api'}
    assert all(floor[folder] > floor[other] for folder, used in graph.items() for other in used)
    picture = folders.svg()
    assert all(f'>{folder}</text>' in picture for folder in graph)
    described = re.findall(r'^\| `(\w+)` \|', text(ROOT / 'docs' / 'architecture.md'), re.MULTILINE)
    assert set(described) == set(graph)
