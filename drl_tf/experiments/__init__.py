"""The papers' experiments: ablations, sweeps, likelihoods, long chains and densities of the plane."""
