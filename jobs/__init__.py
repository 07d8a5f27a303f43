"""Jobs: rows that are the only truth, a queue that says which to look at, workers that run them, events that tell."""
