"""The measurement of the input pipeline covers all presets, each read as training would."""

import pytest
from helpers import own_data
from helpers.tiny import ROOT

from drl_tf.cli.parsing import configuration_of
from drl_tf.data import dataset_table, tfds_reading
from drl_tf.tools.bench import input_speed

FLAGS = ROOT / 'flags'


def test_every_preset_but_those_of_folders_and_points_is_measured():
    covered = input_speed.presets()
    datasets = {path.stem.split('_')[0] for path in FLAGS.glob('*.flags')} - {'recipe', 'toy', 'folder'}
    assert datasets == {dataset.split('_')[0] for dataset, _ in covered}
    for path in FLAGS.glob('*_*.flags'):
        dataset, last = path.stem.rsplit('_', 1)
        assert not last.isdigit() or (dataset, int(last)) in covered
    assert {
        ('imagenet32', 32),
        ('digits', 16),
        ('emoji', 32),
        ('lsun_church', 64),
        ('celeb_a_hq', 128),
    } <= set(covered)
    large = {name for name, _ in covered if dataset_table.find_spec(name).source == 'tfds'} - {'emoji'}
    assert large == set(input_speed.COUNTS)


@pytest.mark.parametrize(
    ('dataset', 'size', 'places'),
    [
        ('cifar10', 32, ['memory']), ('imagenet32', 32, ['files']), ('lsun_church', 64, ['memory']),
        ('celeb_a_hq', 256, ['files']),
        ('lsun_bedroom', 64, ['files', 'files of 64 px']), ('digits', 16, ['memory']),
    ],
)  # fmt: skip
def test_each_is_read_as_training_would(monkeypatch, tmp_path, dataset, size, places):
    monkeypatch.setattr(input_speed, 'on_disk', lambda data, directory: data)
    found = list(input_speed.places(input_speed.preset(dataset, size, 'cdrl').data, tmp_path))
    assert [place for place, _ in found] == places
    assert [data.prepare_size for _, data in found] == [0, size][: len(places)]


def test_own_pictures_are_measured_themselves(tmp_path):
    data = configuration_of(own_data.write('folder', tmp_path)).data
    assert input_speed.on_disk(data, tmp_path / 'bench') == data


def test_imagenet_is_streamed_with_its_classes(monkeypatch, tmp_path):
    monkeypatch.setattr(input_speed, 'SMALL_PICTURES', 40)
    streamed = []
    stream = tfds_reading.stream
    monkeypatch.setattr(tfds_reading, 'stream', lambda *args: streamed.append(args) or stream(*args))
    data = input_speed.on_disk(input_speed.preset('imagenet32', 32, 'cdrl').data, tmp_path)
    given, of_one_core = input_speed.speed(data, 8, 0.1, in_memory=False)
    assert given > 0 and of_one_core > 0 and len(streamed) == 1 and data.num_classes == 1000


def test_the_digits_are_trained_on_and_others_computed(monkeypatch, tmp_path):
    tiny = dict(
        channels=4,
        channel_mult=(1,),
        num_res_blocks=1,
        num_levels=1,
        mcmc_steps=(1,),
        batch_size=2,
        precision='float32',
    )
    small = input_speed.preset('digits', 16, 't6').replace(**tiny)
    assert input_speed.images_taken([small], tmp_path, 0.1)['here'][0] > 0
    monkeypatch.setattr(input_speed, 'TRAINED_HERE', ())
    (h100,), (v5e,) = input_speed.images_taken([small], tmp_path, 0.1).values()
    assert h100 / v5e == pytest.approx(989 / 197) and h100 > 1e6
