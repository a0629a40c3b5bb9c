"""The shapes world: a procedural world of captioned pictures and the models trained on it."""
