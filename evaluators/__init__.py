"""What an architecture is worth: pictures, their scores, latency, and the workers for it."""
