"""FAISS indexes: build, calibration, search, storage and memory estimate. Semantic IDs: codes, trie, beam search."""
