"""The sampler as one ONNX file: export, parity with torch, and what runs it."""
