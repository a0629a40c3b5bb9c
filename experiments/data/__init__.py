"""Training data: captioned pictures from folders, datasets and tar shards, or encoded before."""
