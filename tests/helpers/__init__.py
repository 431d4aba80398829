"""What several test files use."""

import os

# Before anything imports JAX, which sets a level of its own that processes of the tests would inherit.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
