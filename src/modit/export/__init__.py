"""Export of a sampler as one ONNX file, and the proof that the file answers as torch does."""
