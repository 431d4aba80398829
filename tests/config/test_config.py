"""The configuration in Python."""

import pytest
from helpers.small_models import PRECONDITIONED

from drl_tf.base.errors import UserError
from drl_tf.config import objectives
from drl_tf.config.config import Config


def test_a_published_configuration_names_no_file_of_this_machine():
    local = Config().replace(data_dir='/a', manual_dir='/b', labels_file='/c.csv', num_real=10)
    assert local.portable() == Config()


def test_a_published_configuration_names_a_dataset_without_its_directory(tmp_path, monkeypatch):
    """Whoever has the directory may name it for the published model."""
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path)
    for given, name in {
        f'hf:{tmp_path}/private': 'hf:./private', 'hf:/a/private:small': 'hf:./private:small',
        'hf:../private/': 'hf:./private', 'hf:here': 'hf:./here', 'hf:org/name': 'hf:org/name',
    }.items():  # fmt: skip
        local = Config().replace(dataset=given)
        public = local.portable()
        assert public.data.dataset == name
        assert not local.differences(public, lambda field: True)
    other = Config().replace(dataset='hf:/b/private')
    assert other.differences(Config().replace(dataset='hf:/a/private'), lambda field: True)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'batch_size': 5, 'microbatches': 4}, 'batch_size=5 must be a multiple of microbatches=4'),
        ({'channels': 0}, 'channels=0 must be at least 4'),
    ],
)
def test_errors_name_options_as_python_writes_them(options, message):
    with pytest.raises(UserError, match=f'^{message}'):
        Config().replace(**options)
    with pytest.raises(UserError, match=f'^--{message.replace("microbatches", "--microbatches")}'):
        Config().with_flags(**options)


def test_an_image_has_one_mean_or_one_for_each_channel():
    for channels, means in ((1, (0.1,)), (3, (0.1,)), (3, (0.1, 0.2, 0.3))):
        Config().replace(image_channels=channels, data_mean=means)
    with pytest.raises(
        UserError, match=r'data_mean=0\.1,0\.2,0\.3 has 3 numbers: give one, or one for each of 1'
    ):
        Config().replace(image_channels=1, data_mean=(0.1, 0.2, 0.3))


LOSS = {'levels': 'continuous', 'recovery_nce': 0.05}


@pytest.mark.parametrize(
    ('options', 'compares'),
    [
        ({}, False),
        (LOSS, True),
        ({'mcmc_steps': (2,)}, True),
        ({'mcmc_steps': (2,), 'corrector': 'langevin'}, False),
    ],
)
def test_losses_and_chains_that_compare_densities(options, compares):
    """The chains of sample grids and of evaluations in training among them."""
    assert objectives.compares_densities(PRECONDITIONED.replace(**options)) == compares


def test_moments_of_a_batch_give_no_densities_to_compare():
    with pytest.raises(UserError, match='norm=batch gives no density of an image'):
        PRECONDITIONED.replace(norm='batch', **LOSS)
