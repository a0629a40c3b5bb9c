"""A live page over run folders: what searches have tried, what they decided, and where they stand.

It reads and never writes, and it imports no torch, so that it opens at once.
"""
