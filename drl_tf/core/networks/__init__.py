"""The networks; they do not depend on noise schedules or training."""
