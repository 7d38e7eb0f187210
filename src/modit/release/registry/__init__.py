"""What versions there are and what is promoted: MLflow, the release log, and whether the two agree."""
