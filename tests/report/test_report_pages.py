"""Pages of runs: they load nothing, hold every part, and stand up to damaged files."""

import html.parser
import json
import re
import shutil

import pytest
from helpers.tiny import TINY, call, refused

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.report import pages

SECTIONS = ['samples', 'states', 'curves', 'energies', 'chains', 'scores', 'rollbacks', 'configuration']


class Parsed(html.parser.HTMLParser):
    """Elements of a page outside the library of the charts, and the text outside scripts."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.words = []
        self._within = ''
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag):
        self._within = ''

    def handle_data(self, data):
        if self._within not in ('script', 'style'):
            self.words.append(data)

    @property
    def text(self):
        return ' '.join(' '.join(self.words).split())

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope='module')
def measured_run(tiny_run, tmp_path_factory):
    """A copy of the tiny run with its page."""
    workdir = tmp_path_factory.mktemp('pages') / 'tiny'
    shutil.copytree(tiny_run, workdir)
    pages.report(configuration.load(workdir), str(workdir), count=10)
    return workdir


def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / 'copy')


def page_of(workdir):
    with open(pages.write(str(workdir)), encoding='utf-8') as file:
        return file.read()


def test_training_writes_a_page(tiny_run):
    page = Parsed((tiny_run / 'report.html').read_text())
    assert '32 of 32' in page.text and 'The states are not drawn yet' in page.text


def test_a_page_loads_nothing_and_is_small(measured_run):
    page = page_of(measured_run)
    parsed = Parsed(page)
    assert len(page) < 5_000_000
    loaded = [each.get('src') or each.get('href') for _, each in parsed.elements]
    assert all(re.match(r'(data:|#)', address) for address in loaded if address)
    assert not parsed.of('iframe') and not parsed.of('object') and not re.search(r'@import|url\(http', page)
    (policy,) = [each['content'] for each in parsed.of('meta') if 'http-equiv' in each]
    assert policy.startswith("default-src 'none'") and 'http' not in policy


def test_a_page_holds_every_part(measured_run):
    page = page_of(measured_run)
    parsed = Parsed(page)
    assert [each['id'] for each in parsed.of('section')] == SECTIONS
    assert [each['href'][1:] for each in parsed.of('a')[1:]] == SECTIONS
    sliders = {each['id']: each['max'] for each in parsed.of('input')}
    assert sliders == {'grid-slider': '1', 'state-slider': '6'}
    assert len([each for each in parsed.of('img') if each.get('class') == 'state']) == 8
    charts = [each['aria-label'] for each in parsed.of('figure') if each.get('class') == 'chart']
    assert sum('noise' in chart for chart in charts) == 6
    assert 'Chart: displacement of the chains (rms), by level' in charts
    assert 'Kolmogorov-Smirnov distance' in parsed.text and '--mcmc_steps' in parsed.text


def test_everything_that_is_seen_can_be_read(measured_run):
    """Pictures have texts; sliders have labels; sections have headings; tables that scroll take the focus."""
    parsed = Parsed(page_of(measured_run))
    assert all(each['alt'] for each in parsed.of('img'))
    ids = {each['id'] for _, each in parsed.elements if 'id' in each}
    labels = {each['for'] for each in parsed.of('label')}
    assert labels == {each['id'] for each in parsed.of('input')}
    assert {each['aria-labelledby'] for each in parsed.of('section')} <= ids
    assert parsed.of('html') == [{'lang': 'en'}] and parsed.of('title')
    assert all(each['tabindex'] == '0' for each in parsed.of('div') if each.get('class') == 'scroll')
    assert all(each['aria-label'] for each in parsed.of('table'))


def test_the_data_of_the_page_are_json_without_nan(measured_run, tmp_path):
    workdir = copied(measured_run, tmp_path)
    with open(workdir / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 40, "loss": NaN, "level_loss": [null, Infinity]}\n')
    scripts = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page_of(workdir), re.DOTALL)
    assert len(scripts) > 10
    for script in scripts:
        json.loads(script, parse_constant=lambda name: pytest.fail(name))


def test_names_cannot_break_out_of_the_page(tmp_path):
    workdir = tmp_path / '<script>alert(1)<'
    Config().save(workdir)
    assert '<script>alert' not in page_of(workdir)


def test_the_commands_that_add_what_is_missing_can_be_pasted(tmp_path):
    workdir = tmp_path / 'my runs'
    Config().save(workdir)
    text = Parsed(page_of(workdir)).text
    for mode in ('report', 'evaluate,report'):
        assert f"This command adds them: python run.py --mode={mode} --workdir='{workdir}'" in text


def test_a_run_without_files_has_a_sentence_in_each_section(tmp_path):
    Config().save(tmp_path)
    parsed = Parsed(page_of(tmp_path))
    for words in (
        'Training drew no grids of samples', 'The states are not drawn yet', 'The log holds no lines',
        'The energies are not measured yet', 'The log of training holds neither displacement nor acceptance',
        'The run has no scores yet', 'The energies never diverged',
    ):  # fmt: skip
        assert words in parsed.text
    assert [each['id'] for each in parsed.of('section')] == SECTIONS and not parsed.of('img')


@pytest.mark.parametrize(
    'name', ['metrics.jsonl', 'report.npz', 'samples/00000008.png', 'samples/data.png', 'config.json']
)
@pytest.mark.parametrize('content', [b'', b'\x00\xff{"step": ', None])
def test_a_damaged_or_missing_file_costs_its_part_alone(measured_run, tmp_path, name, content):
    workdir = copied(measured_run, tmp_path)
    if content is None:
        (workdir / name).unlink()
    else:
        (workdir / name).write_bytes(content)
    parsed = Parsed(page_of(workdir))
    assert [each['id'] for each in parsed.of('section')] == SECTIONS
    named = content and name not in ('samples/data.png', 'config.json')  # Checkpoints hold its copy.
    problems = [each for each in parsed.of('div') if each.get('class') == 'problems']
    assert bool(problems) == bool(
        named or (content == b'' and name in ('report.npz', 'samples/00000008.png'))
    )
    assert ('Kolmogorov' in parsed.text) == (name != 'report.npz')
    assert ('By level at step 32' in parsed.text) == (name != 'metrics.jsonl')
    assert ('Step 16' in parsed.text) and bool(parsed.of('input'))


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    Config().save(tmp_path)
    (tmp_path / 'report.html.writing').mkdir()
    with pytest.raises(UserError, match=r'report\.html could not be written \(Is a directory\)'):
        pages.write(str(tmp_path))


def test_runs_side_by_side(measured_run, tmp_path, capsys):
    first, second = copied(measured_run, tmp_path), tmp_path / 'second'
    Config().replace(batch_size=7).save(second)
    before = sorted(second.rglob('*'))
    code, out, err = call(
        capsys, '--mode=report', f'--workdir={first}', f'--compare={second}', '--num_samples=10'
    )
    assert code == 0, err
    assert out.split()[-2:] == ['comparison', str(first / 'comparison.html')]
    parsed = Parsed((first / 'comparison.html').read_text())
    assert '2 runs side by side' in parsed.text and '--batch_size 8 7' in parsed.text
    assert 'copy, step 32' in parsed.text and sorted(second.rglob('*')) == before
    assert [each['id'] for each in parsed.of('section')] == [
        'configuration', 'samples', 'curves', 'scores', 'energies'
    ]  # fmt: skip


def test_what_cannot_be_compared_is_refused(tiny_run, capsys):
    options = ('--mode=report', f'--workdir={tiny_run}')
    assert refused(capsys, *options, '--compare=nowhere') == (
        'error: --compare=nowhere is not there: it must be the directory of a run'
    )
    assert 'is --workdir itself' in refused(capsys, *options, f'--compare={tiny_run}/')
    assert '--compare is for --mode=report' in refused(capsys, *TINY, '--compare=a')
