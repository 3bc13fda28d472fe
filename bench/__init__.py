"""`python -m bench`: how fast the adapter is beside its peers, side by side in one run (docs/performance.md)."""
