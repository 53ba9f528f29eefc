"""Claims, experiments, records and the runner."""
