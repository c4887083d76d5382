"""A run's folder, training state, configuration, interrupts, progress and statistics."""
