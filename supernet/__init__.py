"""The supernet: architectures as values, skippable blocks, robust training, standalone UNets."""
