"""Export of samplers, retrievers by semantic IDs and text towers as ONNX files, proven to answer as torch does."""
