"""A pipeline's networks as Core ML packages, for Apple devices."""
