"""The command line: turns flags into a configuration, and runs the modes."""
