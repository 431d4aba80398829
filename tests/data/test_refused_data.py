"""Data of the user that are missing, broken or of another kind: refused in one line that names the remedy."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import own_data
from helpers.own_data import refusal
from helpers.tiny import ROOT

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, facts, indexed, pipeline, registry

IMAGES = np.zeros([4, 8, 8, 3], np.uint8)
pytestmark = pytest.mark.usefixtures('fresh')


def opened(dataset, **options):
    data = dataset_table.resolve(config.Data(dataset=dataset, **options))
    return facts.OPEN[dataset_table.find_spec(data.dataset).source](data)


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'pictures': IMAGES}, 'holds pictures, but no array images'),
        ({'images': IMAGES / 255}, 'images are of type float64: save grey levels, 0 to 255, as uint8'),
        ({'images': IMAGES[0, 0]}, r'images have shape \[8, 3\]: it must be \[N, H, W\]'),
        ({'images': IMAGES[:0]}, r'images have shape \[0, 8, 8, 3\]'),
        ({'images': IMAGES[..., :2]}, r'images have shape \[4, 8, 8, 2\]'),
        ({'images': IMAGES, 'labels': np.arange(3)}, r'labels are int64 \[3\]: they must be 4 whole numbers'),
        ({'images': IMAGES, 'labels': np.arange(4) - 2}, 'they must be 4 whole numbers from 0'),
        ({'images': IMAGES, 'labels': np.ones(4)}, 'labels are float64'),
        ({'images': IMAGES, 'labels': np.array([0, 1, 2, 2**32 + 1])}, 'from 0, below 100,000'),
        ({'images': IMAGES, 'labels': np.array(['a'] * 4, object)}, 'damaged or no .npz file'),
        ({'images': IMAGES, 'test_images': IMAGES, 'labels': np.arange(4)}, 'labels of one split alone'),
        ({'images': IMAGES, 'test_images': IMAGES[..., 0] / 2}, 'test_images are of type float64'),
    ],
)
@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_arrays_that_are_no_images_are_refused(tmp_path, arrays, message, save):
    save(tmp_path / 'a.npz', **arrays)
    assert re.search(message, refusal(f'npz:{tmp_path}/a.npz'))


def test_a_file_that_is_missing_or_cut_is_refused(tmp_path):
    assert 'there is no such file' in refusal(f'npz:{tmp_path}/none.npz')
    assert 'needs a file' in refusal('npz')
    np.savez(tmp_path / 'a.npz', images=IMAGES)
    (tmp_path / 'a.npz').write_bytes((tmp_path / 'a.npz').read_bytes()[:300])
    assert 'is damaged or no .npz file' in refusal(f'npz:{tmp_path}/a.npz')
    assert 'drop one of them' in refusal(f'npz:{tmp_path}/a.npz', data_dir='elsewhere')


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_arrays_are_read_as_they_were_saved(tmp_path, save, order):
    """Mapped from an uncompressed file; the split of the file is kept; grey images have one channel."""
    values = np.random.default_rng(0).integers(0, 256, [5, 6, 4], np.uint8)
    save(tmp_path / 'a.npz', labels=np.arange(5), images=np.asarray(values, order=order),
         test_images=values[:2], test_labels=[4, 5])  # fmt: skip
    data = dataset_table.resolve(config.Data(dataset=f'npz:{tmp_path}/a.npz', num_classes=-1))
    assert data.image_shape == (6, 4, 1) and data.num_classes == 6 and data.dataset == 'npz'
    np.testing.assert_array_equal(pipeline.load_images(data, 'train')[..., 0], values)
    np.testing.assert_array_equal(pipeline.load_images(data, 'test')[..., 0], values[:2])
    assert pipeline.load_labels(data, 'test').tolist() == [4, 5]
    source = opened(f'npz:{tmp_path}/a.npz').train.read.__closure__
    mapped = any(isinstance(cell.cell_contents, np.memmap) for cell in source)
    assert mapped == (save is np.savez)


def test_the_held_out_pictures_do_not_depend_on_the_seed_but_are_not_the_last(tmp_path):
    images = np.zeros([400, 2, 2, 1], np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(400), 256)
    np.savez(tmp_path / 'a.npz', images=images)
    data = dataset_table.resolve(config.Data(dataset=f'npz:{tmp_path}/a.npz'))
    held = pipeline.load_images(data, 'test').astype(int)
    numbers = 256 * held[:, 0, 0, 0] + held[:, 0, 1, 0]
    assert len(numbers) == 20 and 50 < np.mean(numbers) < 350 and np.ptp(numbers) > 200
    assert len(set(np.diff(numbers))) > 5


def test_an_unknown_or_unfit_tfds_name_is_refused(tmp_path):
    where = {'data_dir': str(tmp_path)}
    assert 'is unknown to tensorflow-datasets' in refusal('tfds:minst', **where)
    assert 'did you mean tfds:mnist?' in refusal('tfds:minst', **where)
    assert 'cannot be opened' in refusal('tfds:mnist/zebra', **where)
    error = refusal('tfds:imdb_reviews', **where)
    assert 'no feature of type Image, uint8: its features are label (ClassLabel), text (Text)' in error
    assert 'lacks a name' in refusal('tfds:')


def test_a_tfds_dataset_has_the_shape_and_classes_of_its_features(tmp_path):
    """Without files, from the catalog: of fixed size, of varying size, without classes."""

    def found(name):
        data = config.Data(dataset=f'tfds:{name}', data_dir=str(tmp_path), num_classes=-1)
        resolved = dataset_table.resolve(data)
        return resolved.image_shape, resolved.num_classes

    assert found('fashion_mnist') == ((28, 28, 1), 10)
    assert found('cats_vs_dogs') == ((32, 32, 3), 2)
    with pytest.raises(UserError, match='has no classes'):
        found('celeb_a')


def test_tfrecords_that_are_missing_or_damaged_are_refused(tmp_path):
    assert 'holds no dataset_info.json' in refusal(f'tfrecords:{tmp_path}')
    assert 'needs a directory' in refusal('tfrecords')
    directory = own_data.store(tmp_path)
    (directory / 'dataset_info.json').write_text('{')
    assert 'is damaged' in refusal(f'tfrecords:{directory}')


def test_a_tfds_split_of_its_own_is_the_test_split(tmp_path):
    directory = own_data.store(tmp_path, splits=('train', 'validation'))
    data = config.Data(dataset=f'tfrecords:{directory}')
    assert pipeline.count_images(data, 'train') == pipeline.count_images(data, 'test') == own_data.COUNT


def test_parquet_files_that_are_missing_broken_or_without_pictures_are_refused(tmp_path):
    pandas = pytest.importorskip('pandas')
    pytest.importorskip('datasets')
    where = f'parquet:{tmp_path}'
    assert 'there is no Parquet file of the training split' in refusal(where)
    (tmp_path / 'a.parquet').write_bytes(b'PAR1 and no more')
    assert 'cannot be read' in refusal(where)
    pandas.DataFrame({'text': ['a', 'b']}).to_parquet(tmp_path / 'a.parquet')
    assert 'has no column of pictures: its columns are text' in refusal(where)


def test_parquet_files_of_plain_bytes_and_words_are_read(tmp_path, caplog):
    """Broken rows are named, skipped and counted; files that start with `test` are the test split."""
    pandas = pytest.importorskip('pandas')
    pytest.importorskip('datasets')
    rows = {'img': [own_data.png(1), b'broken', own_data.png(3)], 'label': ['cow', 'ant', 'ant']}
    pandas.DataFrame(rows).to_parquet(tmp_path / 'train-00000.parquet')
    pandas.DataFrame({'img': [own_data.png(5)], 'label': ['bee']}).to_parquet(tmp_path / 'test-00000.parquet')
    data = dataset_table.resolve(config.Data(dataset=f'parquet:{tmp_path}', num_classes=-1, image_size=8))
    assert data.num_classes == 3
    assert pipeline.load_images(data, 'train')[:, 0, 0, 0].tolist() == [10, 30]
    assert pipeline.load_labels(data, 'train').tolist() == [2, 0]
    assert pipeline.load_labels(data, 'test').tolist() == [1]
    assert 'Skipped train row 1, a broken image' in caplog.text
    assert '2 of 3 images usable, 1 broken' in caplog.text


def test_parquet_files_in_a_folder_of_a_split_are_of_that_split(tmp_path):
    pandas = pytest.importorskip('pandas')
    pytest.importorskip('datasets')
    for split, values in (('train', (1, 2, 3)), ('test', (5, 6, 7))):
        (tmp_path / 'test_of_paths' / split).mkdir(parents=True)
        rows = pandas.DataFrame({'img': [own_data.png(value) for value in values]})
        rows.to_parquet(tmp_path / 'test_of_paths' / split / '0000.parquet')
    name = f'parquet:{tmp_path}/test_of_paths'
    data = dataset_table.resolve(config.Data(dataset=name, image_size=8))
    assert pipeline.load_images(data, 'train')[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert pipeline.load_images(data, 'test')[:, 0, 0, 0].tolist() == [50, 60, 70]


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'datasets', None)
    (tmp_path / 'a.parquet').touch()
    for name in ('hf:mnist', f'parquet:{tmp_path}'):
        assert "needs the library datasets: install it with `pip install 'drl_tf[hf]'`" in refusal(name)


def test_a_hub_out_of_reach_is_said_within_seconds(tmp_path, monkeypatch):
    """The library alone would try for half a minute."""
    datasets = pytest.importorskip('datasets')
    huggingface_hub = pytest.importorskip('huggingface_hub')
    monkeypatch.setattr(huggingface_hub.constants, 'ENDPOINT', 'http://127.0.0.1:9')
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(datasets.config, 'HF_HUB_OFFLINE', False)
    slept = []
    monkeypatch.setattr(time, 'sleep', slept.append)
    assert '--dataset=hf:no/such cannot be read' in refusal('hf:no/such', data_dir=str(tmp_path))
    assert sum(slept) < 3


def labelled(labels, **splits):
    """A dataset of the library `datasets` with these labels, or a dictionary of splits."""
    datasets = pytest.importorskip('datasets')
    kind = datasets.ClassLabel(names=['ant', 'bee'])
    features = datasets.Features({'image': datasets.Image(), 'label': kind})
    rows = {'image': [{'bytes': own_data.png(number), 'path': None} for number in range(len(labels))]}
    found = datasets.Dataset.from_dict({**rows, 'label': labels}, features=features)
    parts = {name: labelled(part) for name, part in splits.items()}
    return datasets.DatasetDict({'train': found, **parts}) if splits else found


def test_a_single_split_saved_to_disk_is_read(tmp_path):
    labelled([0, 1, 0]).save_to_disk(tmp_path / 'one')
    data = dataset_table.resolve(config.Data(f'hf:{tmp_path}/one', num_classes=-1, image_size=8))
    assert [pipeline.count_images(data, split) for split in ('train', 'test')] == [2, 1]
    (tmp_path / 'one' / 'state.json').write_text('{')
    assert 'cannot be read' in refusal(f'hf:{tmp_path}/one')


def test_a_test_split_without_classes_is_refused(tmp_path):
    datasets = pytest.importorskip('datasets')
    splits = {'train': labelled([0, 1, 0]), 'test': labelled([0, 1]).remove_columns('label')}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / 'two')
    assert 'its split test has no column label' in refusal(f'hf:{tmp_path}/two')


@pytest.mark.parametrize('kind', ['npz', 'hf', 'parquet', 'python'])
def test_pictures_without_a_class_are_counted_and_kept(tmp_path, caplog, kind):
    """Label -1, in either split; the networks get the label 0. Without any class the flag is refused."""
    labels, held_out = [0, -1, 1, -1], [-1, -1]

    def arrays(labels):
        return np.stack([own_data.picture(number) for number in range(len(labels))]), np.array(labels)

    def written(labels, held_out):
        indexed.forget()
        if kind == 'hf':
            labelled(labels, test=held_out).save_to_disk(tmp_path / 'saved')
            return f'hf:{tmp_path}/saved'
        if kind == 'parquet':
            for name, part in (('train', labels), ('test', held_out)):
                frame = pytest.importorskip('pandas').DataFrame(
                    {'image': [own_data.png(number) for number in range(len(part))], 'label': part}
                )
                frame.to_parquet(tmp_path / f'{name}-0.parquet')
            return f'parquet:{tmp_path}'
        if kind == 'python':
            registry.register_dataset('mixed')(lambda split: arrays(labels if split == 'train' else held_out))
            return 'mixed'
        (images, numbers), (test_images, test_labels) = arrays(labels), arrays(held_out)
        np.savez(
            tmp_path / 'a.npz',
            images=images,
            labels=numbers,
            test_images=test_images,
            test_labels=test_labels,
        )
        return f'npz:{tmp_path}/a.npz'

    data = dataset_table.resolve(config.Data(written(labels, held_out), num_classes=-1, image_size=8))
    assert data.num_classes == 2
    assert pipeline.load_labels(data, 'train').tolist() == labels
    assert pipeline.load_labels(data, 'test').tolist() == held_out
    assert '2 of 4 pictures of the train split have no class (label -1)' in caplog.text
    assert '2 of 2 pictures of the test split have no class (label -1)' in caplog.text
    _, shown = next(iter(pipeline.training_images(data, 4, seed=1).as_numpy_iterator()))
    assert sorted(shown.tolist()) == [0, 0, 1, 2]
    none = written([-1, -1], [-1])
    assert 'has no classes; drop the flag' in refusal(none, num_classes=-1)


def test_refusals_come_before_tensorflow_is_loaded(tmp_path):
    """One process refuses one command after the other and never loads TensorFlow."""
    np.savez(tmp_path / 'floats.npz', images=IMAGES / 255)
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'pictures' / 'a.png').write_bytes(own_data.png(1))
    (tmp_path / 'a.csv').write_text('name,class\na.png,3\n')
    folder = ['--dataset=folder', f'--data_dir={tmp_path}/pictures']
    commands = [
        [f'--dataset=npz:{tmp_path}/floats.npz'],
        ['--dataset=npz:none.npz'],
        [f'--dataset=tfrecords:{tmp_path}'],
        ['--dataset=tfds:no_such_name', f'--data_dir={tmp_path}'],
        ['--dataset=tfds:imdb_reviews', f'--data_dir={tmp_path}'],
        [f'--dataset=parquet:{tmp_path}'],
        ['--dataset=hf:'],
        ['--dataset=no_such_name'],
        [*folder, '--num_classes=-1'],
        [*folder, f'--labels_file={tmp_path}/a.csv'],
        ['--dataset=digits', '--labels_file=a.csv'],
        ['--dataset=cifar10', '--image_width=48'],
    ]
    program = (
        'import json, sys\nfrom drl_tf.cli.main import main\n'
        'codes = [main(["run.py", *command]) for command in json.loads(sys.argv[1])]\n'
        'print(json.dumps([codes, "tensorflow" in sys.modules]))\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[2] * len(commands), False], done.stderr
    assert done.stderr.count('error: ') == len(commands) and 'Traceback' not in done.stderr
