"""Errors, files and checks of arguments: what every other folder may use."""
