"""Smaller models trained from a pipeline's own: the efficient image decoder."""
