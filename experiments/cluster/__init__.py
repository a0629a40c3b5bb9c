"""Searches on a Ray cluster: sent as Ray Jobs, followed, and fetched when they end."""
