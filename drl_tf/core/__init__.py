"""The method of the papers: energies, noise levels, Langevin dynamics, losses and the Keras model that joins
them."""
