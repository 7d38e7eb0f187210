"""Writes a sampler as one ONNX file and proves that the file answers as torch does."""
