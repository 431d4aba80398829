"""What a run leaves on disk: checkpoints, samples, pictures, and imported or exported weights."""
