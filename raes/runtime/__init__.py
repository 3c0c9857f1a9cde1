"""Where episodes run: one interface, two executors that give the same bits."""
