"""The adapter's own rules: pure values and functions, no I/O, no clock. Time and randomness are arguments."""
