"""The command line: from flags to a configuration and the modes to run."""
