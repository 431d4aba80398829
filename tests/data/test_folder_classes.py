"""Classes, splits, rectangles and mirroring of the user's picture files."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from helpers.tiny import call, refused
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.config import config
from drl_tf.data import dataset_table, images, indexed, pipeline


@pytest.fixture(autouse=True)
def fresh():
    indexed.forget()


def save(directory, *names):
    """Pictures whose grey level is their place in the list."""
    for value, name in enumerate(names):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (8, 8), value).save(directory / name)


def of(directory, **options):
    options = {'num_classes': -1, 'image_size': 8, **options}
    return dataset_table.resolve(config.Data(dataset='folder', data_dir=str(directory), **options))


def both(data, split='train'):
    """(grey level, class) of each image."""
    levels = pipeline.load_images(data, split)[:, 0, 0, 0].tolist()
    return list(zip(levels, pipeline.load_labels(data, split).tolist(), strict=True))


def test_some_images_are_of_all_classes(tmp_path, monkeypatch):
    """A part of a folder whose pictures are sorted by class, from memory and from the files."""
    save(tmp_path, *(f'{name}/{index}.png' for name in 'ab' for index in range(10)))
    data = of(tmp_path)
    whole = both(data)
    for limit in (indexed.images.MAX_BYTES_IN_MEMORY, 0):
        monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', limit)
        indexed.forget()
        some = pipeline.load_images(data, 'train', 6)[:, 0, 0, 0].tolist()
        labels = pipeline.load_labels(data, 'train', 6).tolist()
        assert set(labels) == {0, 1} and set(zip(some, labels, strict=True)) < set(whole)
        batches = np.concatenate(list(pipeline.image_batches(data, 'train', 6)))
        assert batches[:, 0, 0, 0].tolist() == some
        assert pipeline.load_images(data, 'train', 99)[:, 0, 0, 0].tolist() == [level for level, _ in whole]


def test_some_images_are_of_all_classes_that_take_turns():
    """Of 4,000 images and of 50,000, whose ten classes take turns or follow each other."""
    for total in (4000, 50_000):
        places = indexed.random_places(1000, total)
        assert (
            len(set(places)) == 1000 and (np.diff(places) > 0).all() and 0 <= places[0] <= places[-1] < total
        )
        for classes in (places % 10, places * 10 // total):
            assert 70 < np.bincount(classes).min() <= np.bincount(classes).max() < 130
    assert indexed.random_places(5, 3).tolist() == [0, 1, 2]


def test_names_are_those_of_the_images_that_are_taken(tmp_path):
    save(tmp_path, *(f'{index:02}.png' for index in range(20)))
    split = indexed.load(of(tmp_path, num_classes=0), 'train')
    some = np.concatenate(list(split.batches(6)))[:, 0, 0, 0]
    assert split.names(6) == [f'{tmp_path}/{level:02}.png' for level in some] != split.names()[:6]


def test_the_first_folder_below_is_the_class_in_the_order_of_the_names(tmp_path, capsys):
    save(tmp_path, 'dog/a.png', 'cat/deep/x.png', 'cat/b.png', 'dog/z.png')
    data = of(tmp_path)
    assert data.num_classes == 2
    assert both(data) + both(data, 'test') == [(2, 0), (1, 0), (0, 1), (3, 1)]
    pipeline.prepare(data)
    assert 'classes: 0 cat, 1 dog' in capsys.readouterr().out
    assert both(of(tmp_path, num_classes=0)) == [(2, 0), (1, 0), (0, 0)]


def test_a_picture_in_no_folder_is_named_where_classes_are_wanted(tmp_path):
    save(tmp_path, 'dog/a.png', 'cat/b.png', 'stray.png')
    with pytest.raises(UserError, match=r'--num_classes=-1: .*stray\.png is in no folder of a class'):
        of(tmp_path)
    assert of(tmp_path, num_classes=0).num_classes == 0


@pytest.mark.parametrize('held_out', ['test', 'validation', 'val'])
def test_folders_of_splits(tmp_path, caplog, held_out):
    """A class that only one split has counts too; pictures outside of both are left out and counted."""
    save(tmp_path, 'train/a/1.png', 'train/c/2.png', f'{held_out}/b/3.png', 'other/4.png')
    data = of(tmp_path)
    assert data.num_classes == 3
    assert both(data) == [(0, 0), (1, 2)] and both(data, 'test') == [(2, 1)]
    assert f'left out 1 pictures outside of train and {held_out}' in caplog.text
    assert '1 of 3 classes have no picture to train on, and the model does not learn them: b.' in caplog.text


def test_classes_without_a_training_picture_are_named(tmp_path, caplog):
    """The only picture of a class is held out; the numbers of classes have gaps."""
    save(tmp_path / 'pictures', *(f'a/{index:02}.png' for index in range(19)), 'b/19.png')
    data = of(tmp_path / 'pictures')
    assert set(pipeline.load_labels(data, 'train')) == {0}
    assert '1 of 2 classes have no picture to train on, and the model does not learn them: b.' in caplog.text
    np.savez(tmp_path / 'a.npz', images=np.zeros([48, 8, 8], np.uint8), labels=1 + 2 * (np.arange(48) % 12))
    caplog.clear()
    numbered = dataset_table.resolve(config.Data(f'npz:{tmp_path}/a.npz', num_classes=-1))
    assert numbered.num_classes == len(set(pipeline.load_labels(numbered, 'train'))) * 2 == 24
    assert '12 of 24 classes have no picture to train on' in caplog.text
    assert 'does not learn them: 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, ... Add' in caplog.text
    save(tmp_path / 'whole', *(f'{name}/{index:02}.png' for name in 'ab' for index in range(2)))
    caplog.clear()
    pipeline.count_images(of(tmp_path / 'whole'), 'train')
    pipeline.count_images(of(tmp_path / 'pictures', num_classes=0), 'train')
    assert 'no picture to train on' not in caplog.text


def test_names_that_are_not_utf8_can_be_printed_and_written(tmp_path, capsys):
    save(tmp_path, os.fsdecode(b'caf\xe9/a.png'), 'tea/b.png')
    data = of(tmp_path)
    pipeline.prepare(data)
    assert r'classes: 0 caf\udce9, 1 tea' in capsys.readouterr().out
    assert indexed.load(data, 'train').names() == [rf'{tmp_path}/caf\udce9/a.png']


def test_a_folder_train_alone_is_a_class(tmp_path):
    save(tmp_path, 'train/a.png', 'plane/b.png')
    assert of(tmp_path).num_classes == 2


def test_hidden_folders_are_no_classes(tmp_path, caplog):
    """Those that programs leave behind are left out and counted."""
    save(tmp_path, 'cat/1.png', 'dog/2.png', '.ipynb_checkpoints/1-checkpoint.png', 'dog/.thumbs/2.png')
    data = of(tmp_path)
    assert data.num_classes == 2 and both(data) + both(data, 'test') == [(0, 0), (1, 1)]
    assert f'{tmp_path}: left out 2 folders that are hidden' in caplog.text
    assert 'such as .ipynb_checkpoints' in caplog.text


def test_folders_that_are_links_are_classes(tmp_path, caplog):
    save(tmp_path, 'disk/cats/deep/1.png', 'pictures/dogs/2.png')
    (tmp_path / 'pictures' / 'cats').symlink_to(tmp_path / 'disk' / 'cats')
    data = of(tmp_path / 'pictures')
    assert data.num_classes == 2 and both(data) + both(data, 'test') == [(0, 0), (1, 1)]
    assert 'left out' not in caplog.text


def test_folders_of_splits_may_be_links(tmp_path):
    save(tmp_path, 'disk/held/b/1.png', 'pictures/train/a/2.png', 'pictures/train/b/3.png')
    (tmp_path / 'pictures' / 'test').symlink_to(tmp_path / 'disk' / 'held')
    data = of(tmp_path / 'pictures')
    assert both(data) == [(1, 0), (2, 1)] and both(data, 'test') == [(0, 1)]


def test_links_in_a_circle_end_and_no_folder_is_read_twice(tmp_path, caplog):
    """A folder that a link leads to once more keeps its own name."""
    save(tmp_path, 'other/1.png', 'pictures/cats/2.png', 'pictures/dogs/3.png')
    (tmp_path / 'pictures' / 'cats' / 'up').symlink_to(tmp_path / 'pictures')
    (tmp_path / 'pictures' / 'cats' / 'higher').symlink_to(tmp_path)
    (tmp_path / 'pictures' / 'again').symlink_to(tmp_path / 'pictures' / 'dogs')
    data = of(tmp_path / 'pictures')
    assert data.num_classes == 2 and both(data) + both(data, 'test') == [(1, 0), (2, 1)]
    assert 'left out 3 folders that are hidden or are read under another path, such as again' in caplog.text


def table(path, rows, names=('file_name', 'label')):
    if path.suffix == '.csv':
        path.write_text('\n'.join(','.join(map(str, row)) for row in [names, *rows]), encoding='utf-8-sig')
    else:
        path.write_text('\n\n'.join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    return str(path)


@pytest.mark.parametrize('kind', ['csv', 'jsonl'])
@pytest.mark.parametrize(
    ('labels', 'classes', 'count'),
    [(['cow', 'ant', 'cow'], [1, 0, 1], 2), ([2, 0, 2], [2, 0, 2], 3), (['2', 'x', '10'], [1, 2, 0], 3)],
)
def test_a_table_gives_the_classes(tmp_path, caplog, kind, labels, classes, count):
    """Words are sorted; whole numbers are the classes. What the table lacks is left out and counted."""
    save(tmp_path / 'pictures', 'b.png', 'below/a.png', 'c.png', 'unlisted.png')
    names = ['below/a.png', 'b.png', './c.png']
    file = table(tmp_path / f'labels.{kind}', [*zip(names, labels, strict=True)])
    data = of(tmp_path / 'pictures', labels_file=file)
    assert data.num_classes == count
    below, first, last = classes  # Those of the pictures 1, 0 and 2 of `save`.
    assert both(data) == [(0, first), (1, below)] and both(data, 'test') == [(2, last)]
    assert 'left out 1 pictures that are not in' in caplog.text


def test_a_picture_of_the_table_that_is_missing_is_named_skipped_and_counted(tmp_path, caplog):
    save(tmp_path, 'a.png', 'c.png')
    rows = [('a.png', 0), ('b.png', 1), ('c.png', 1)]
    data = of(tmp_path, labels_file=table(tmp_path / 'labels.csv', rows))
    assert both(data) == [(0, 0)] and both(data, 'test') == [(1, 1)]
    assert f'Skipped {tmp_path}/b.png, a broken image: no regular file' in caplog.text
    assert '2 of 3 images usable, 1 broken' in caplog.text


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.csv', 'file_name,label\na.png\n', 'has a line without label'),
        ('a.csv', 'file_name,label\na.png,0\n./a.png,1\n', 'gives ./a.png two labels, 0 and 1'),
        ('a.csv', 'name,class\na.png,0\n', 'has a line without file_name'),
        ('a.csv', '', 'lists no picture'),
        ('a.csv', 'file_name,label\nz.png,0\n', 'lists no picture of --data_dir'),
        ('a.csv', b'file_name,label\n\xff.png,0\n', 'is damaged'),
        ('a.jsonl', '{"file_name": "a.png", "label": 0', 'is damaged'),
        ('a.jsonl', '["a.png", 0]', 'is damaged'),
        ('a.txt', 'a.png 0', 'must end in .csv or .jsonl'),
    ],
)
def test_a_broken_table_is_refused(tmp_path, name, content, message):
    save(tmp_path, 'a.png')
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as error:
        of(tmp_path, labels_file=str(tmp_path / name))
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match='cannot be read'):
        of(tmp_path, labels_file=str(tmp_path / 'none.csv'))


@pytest.mark.parametrize(
    ('shape', 'wanted', 'rows', 'columns'),
    [
        ((16, 40), (8, 12), slice(0, 16), slice(8, 32)),
        ((40, 16), (8, 12), slice(14, 25), slice(0, 16)),
        ((16, 40), (8, 8), slice(0, 16), slice(12, 28)),
        ((8, 12), (8, 12), slice(0, 8), slice(0, 12)),
    ],
)
def test_the_largest_centred_rectangle_of_the_shape_is_resized(shape, wanted, rows, columns):
    picture = np.random.default_rng(0).integers(0, 256, [*shape, 3], np.uint8)
    data = config.Data(dataset='folder', image_size=wanted[0], image_width=wanted[1], image_channels=3)
    cut = images.crop_and_resize(picture, data).numpy()
    assert cut.shape == (*wanted, 3)
    resized = tf.image.resize(picture[rows, columns].astype(np.float32), wanted, antialias=True)
    np.testing.assert_array_equal(cut, np.clip(np.rint(resized), 0, 255))


def test_a_rectangle_keeps_its_pixels_if_it_has_the_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [10, 12, 3], np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    (image,) = pipeline.load_images(of(tmp_path, num_classes=0, image_width=12), 'train')
    np.testing.assert_array_equal(image, pixels[1:9])
    assert of(tmp_path, num_classes=0, image_width=8).image_width == 0  # A square has one name.


@pytest.mark.parametrize(
    ('words', 'mirrored'), [([], True), (['--flip'], True), (['--noflip'], False), (['--flip=no'], False)]
)
def test_flip_decides_whether_pictures_are_mirrored(tmp_path, words, mirrored):
    pixels = np.zeros([8, 8], np.uint8)
    pixels[:, :4] = 255
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    words = ['--dataset=folder', f'--data_dir={tmp_path}', '--image_size=8', *words]
    data = parsing.configuration_of(words).data
    batch = next(iter(pipeline.training_images(data, 64, seed=0))).numpy()
    assert (batch[:, 0, 0, 0] < 0).any() == mirrored
    assert len(pipeline.noisy_set(data)[0]) == 1 + mirrored  # For exact energies.


def test_flip_is_kept_with_the_run_and_mirrors_other_datasets_too(capsys, tmp_path):
    digits = config.Data(flip='yes')
    plain = next(iter(pipeline.training_images(config.Data(), 64, seed=0))).numpy()
    batch = next(iter(pipeline.training_images(digits, 64, seed=0))).numpy()
    turned = np.array([not np.array_equal(*pair) for pair in zip(batch, plain, strict=True)])
    np.testing.assert_array_equal(batch[turned], plain[turned][:, :, ::-1])
    assert 16 < turned.sum() < 48
    assert '--flip mirrors images' in refused(capsys, '--dataset=toy_two_moons', '--flip')
    assert '--flip=maybe must be one of auto, yes, no' in refused(capsys, '--flip=maybe')
    code, out, _ = call(capsys, '--dataset=digits', '--flip', '--dry_run=json')
    assert code == 0 and json.loads(out)['configuration']['data']['flip'] == 'yes'
