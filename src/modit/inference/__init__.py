"""The answering of requests, without torch: the ONNX sampler, look-up of items, and retrieval."""
