import pytest

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, plane


def test_unknown_dataset_is_named_with_the_closest_and_all_others():
    with pytest.raises(UserError, match=r'--dataset=cifar-10 is unknown, did you mean cifar10\?') as error:
        dataset_table.find_spec('cifar-10')
    assert all(name in str(error.value) for name in dataset_table.DATASETS)
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match='--dataset=zzz is unknown: There are digits'):
        dataset_table.find_spec('zzz')


def test_zeros_take_the_values_of_the_dataset():
    assert dataset_table.resolve(config.Data()) == config.Data(image_size=32, image_channels=1)
    assert dataset_table.resolve(config.Data(dataset='celeb_a')) == config.Data(
        dataset='celeb_a', image_size=64, image_channels=3
    )


def test_given_values_stay():
    data = config.Data(dataset='lsun_church', image_size=128, image_channels=1)
    assert dataset_table.resolve(data) == data


@pytest.mark.parametrize(
    ('name', 'size'), [('celeb_a_hq', 100), ('celeb_a_hq', 64), ('digits', 64), ('digits', 24), ('mnist', 28)]
)
def test_a_size_that_there_is_not_names_those_there_are(name, size):
    sizes = ', '.join(map(str, dataset_table.find_spec(name).image_sizes))
    with pytest.raises(UserError, match=f'--image_size={size} must be one of {sizes} for --dataset={name}'):
        dataset_table.resolve(config.Data(dataset=name, image_size=size))


def test_digits_house_numbers_emoji_and_unknown_pictures_are_never_mirrored():
    assert [name for name, spec in dataset_table.DATASETS.items() if not spec.flip] == [
        'digits',
        'mnist',
        'svhn_cropped',
        'emoji',
        'npz',
        'parquet',
        'tfrecords',
        *plane.SETS,
    ]


def test_every_default_size_is_one_that_there_is():
    for name, spec in dataset_table.DATASETS.items():
        if spec.image_size:  # Else it is that of the user's data.
            assert dataset_table.resolve(config.Data(dataset=name)).image_size == spec.image_size
