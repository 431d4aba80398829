"""The papers' experiments: ablations, sweeps, likelihood, long-run chains and densities of the plane."""
