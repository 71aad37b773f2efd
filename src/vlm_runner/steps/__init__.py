"""One file a step: from a command to an event. Each looks before it acts: acting twice is adopting."""
