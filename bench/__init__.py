"""Measurements: `python -m bench.run` takes them and writes bench/RESULTS.md."""
