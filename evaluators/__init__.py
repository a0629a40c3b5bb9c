"""What an architecture is worth: pictures, their CLIP score, latency, and the workers for it."""
