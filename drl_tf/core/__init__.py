"""The method of the papers: energies, noise schedules, Langevin dynamics, losses and the Keras models."""
