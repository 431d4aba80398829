"""Warns of names that the next version will remove."""

import warnings


def deprecated(old: str, new: str) -> None:
    """Warns that a public name is deprecated; the warning shows the line of the user's code.

    Args:
      old: the deprecated name, such as 'EnergyModel.sample'.
      new: the name to use instead, such as 'EnergyModel.generate'.
    """
    warnings.warn(f'{old} goes in the next version: use {new}', DeprecationWarning, stacklevel=3)
