"""Text towers for queries and items, and SymmAligner."""
