"""FAISS indexes: build, calibration, search, storage and memory estimate. See docs/explanation/architecture.md."""
