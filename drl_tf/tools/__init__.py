"""Programs for developers: planning for TPUs, speed of input and serving, and runs that are killed."""
