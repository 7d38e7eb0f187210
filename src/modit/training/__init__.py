"""The training loop, its stages, checkpoints, several processes, and curves in MLflow."""
