"""FAISS indexes: build, calibration, search, storage and memory estimate."""
