"""Engines run jobs: each implements `core.ports.JobEngine` and knows no other engine."""
