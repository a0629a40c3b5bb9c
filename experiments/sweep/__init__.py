"""Sweeps: searches of one experiment with other hyper-parameters, run as trials of Ray Tune."""
