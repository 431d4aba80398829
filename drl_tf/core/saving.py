"""Lets Keras save the constructor arguments of networks and models, and rebuild them from these."""

import types
from typing import Any

import keras

PACKAGE = 'drl_tf'


def register(*classes: type) -> None:
    """Registers classes with Keras as 'drl_tf>NAME', so that `keras.saving` finds them by name.

    Examples:
      >>> class Nothing(keras.layers.Layer):
      ...   pass
      >>> register(Nothing)
      >>> keras.saving.get_registered_name(Nothing)
      'drl_tf>Nothing'
    """
    for each in classes:
        keras.saving.register_keras_serializable(PACKAGE)(each)


class SavedNetwork:
    """Mixin that lets Keras save a network's constructor arguments, and rebuild the network from them.

    Attributes:
      arguments: names of the constructor's arguments. For each name, the network has an attribute whose value
        is a number, a string, a tuple, a dataclass of these, or a registered network.

    Examples:
      >>> from drl_tf.core.networks.unet import Size, UNet
      >>> network = UNet(Size(channels=8, mult=(1, 2), blocks=1, attention=False, dropout=0.0), (8, 8, 1))
      >>> UNet.from_config(network.get_config()).size.mult
      (1, 2)
    """

    arguments: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        """Returns Keras' settings and the constructor arguments, {name: value}, with values for JSON."""
        mine = {name: _saved(getattr(self, name)) for name in self.arguments}
        return {**super().get_config(), **mine}  # type: ignore[misc]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Builds a network with new weights from the dict that `get_config` returns."""
        loaded = {name: _loaded(config[name]) for name in cls.arguments}
        return cls(**{**config, **loaded})

    def build_from_config(self, config: dict[str, Any]) -> None:
        """No-op: the constructor has made the weights."""


class SavedModel:
    """Mixin that lets Keras save a model's constructor arguments, and rebuild the model from them.

    The constructor of the model takes two arguments and sets them as attributes.

    Attributes:
      config: the configuration, of a class that `register` has registered.
      attempt: how often training went back to an earlier checkpoint.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments as values that JSON can store.

        Returns:
          {'config': the configuration as a dict, 'attempt': how often training went back to an earlier
          checkpoint}.
        """
        model: Any = self
        return {'config': keras.saving.serialize_keras_object(model.config), 'attempt': model.attempt}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Builds a model with new weights from the dict that `get_config` returns.

        Args:
          config: the dict.
          custom_objects: {name: class} of classes that are not registered, as Keras passes it; None: none.
        """
        found = keras.saving.deserialize_keras_object(config['config'], custom_objects)
        make: Any = cls
        return make(found, config['attempt'])


def _saved(value: Any) -> Any:
    """Turns a value into JSON values: dataclasses into dicts, tuples into lists, networks into configs."""
    if isinstance(value, keras.layers.Layer):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, (tuple, list)):
        return [_saved(each) for each in value]
    if hasattr(value, '__dict__'):
        return {name: _saved(each) for name, each in vars(value).items()}
    return value


def _loaded(value: Any) -> Any:
    """Turns JSON values of `_saved` back; a dataclass comes back as a namespace with the same attributes."""
    if isinstance(value, dict) and 'registered_name' in value:
        return keras.saving.deserialize_keras_object(value)
    if isinstance(value, dict):
        return types.SimpleNamespace(**{name: _loaded(each) for name, each in value.items()})
    return tuple(map(_loaded, value)) if isinstance(value, (list, tuple)) else value
