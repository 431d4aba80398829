"""Programs for developers: benchmarks, planning for TPUs, speed of serving, and tests that kill runs."""
