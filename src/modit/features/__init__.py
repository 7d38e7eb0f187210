"""Item features in Feast: rows offline in parquet, the newest of them online, the same bits in both."""
