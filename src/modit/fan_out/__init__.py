"""Fan-out retrieval (R4T): one intent becomes a set of queries, by an autoregressive policy or a set diffusion."""
