"""Errors, files and argument checks that every other folder may use."""
