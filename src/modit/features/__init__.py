"""Item features in Feast: offline rows, online look-up by id, and the proof that both equal the run's matrix."""
