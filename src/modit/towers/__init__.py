"""Text towers for queries and items, SymmAligner, and the consistent index."""
