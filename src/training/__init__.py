"""One training loop for both stages, its losses and checkpoints."""
