"""The speed suite: Gantry, a peer and nginx side by side in one run. `make bench`, or `python -m benchmarks --help`."""
