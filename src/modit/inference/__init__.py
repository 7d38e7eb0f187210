"""What answers requests: sampler by ONNX, look-up of items, retrieval. It never imports torch."""
