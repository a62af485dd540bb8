"""Benchmarks: one harness, one JSON schema, results committed with device and versions."""
