"""Semantic IDs: item tokenisers, the autoregressive retriever over them, and beam search over the trie of IDs."""
