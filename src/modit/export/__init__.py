"""Export of a sampler or of a retriever by semantic IDs as ONNX files, and the proof that they answer as torch does."""
