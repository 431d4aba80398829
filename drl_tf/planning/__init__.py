"""What a run will cost: FLOPs and memory."""
