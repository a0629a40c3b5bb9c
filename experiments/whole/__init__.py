"""``evounet run``: base, supernet, search, decoder, steps, pipeline and comparison, as one run."""
