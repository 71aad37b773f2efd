"""What a run is and what it does next: pure values and functions. No clock, no random, no I/O, no logging."""
