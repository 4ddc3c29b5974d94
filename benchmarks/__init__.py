"""Measurements, as ratios in one run with the machine named: `python -m benchmarks NAME`. Never asserted in a test."""
