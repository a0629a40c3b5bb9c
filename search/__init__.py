"""The search: actions, their value, and the controller that evolves an architecture."""
