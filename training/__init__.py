"""The way from nothing to the small `demo` models: songs synthesised with their truth, then training on them."""
