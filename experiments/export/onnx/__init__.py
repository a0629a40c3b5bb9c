"""``evounet export --format onnx``: a pipeline's networks for ONNX Runtime, each verified."""
