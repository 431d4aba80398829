"""Networks, which know nothing of noise schedules or training."""
